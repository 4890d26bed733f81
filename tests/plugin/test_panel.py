"""The panel “Long tail”, asked as the App asks it, on a real mongod with a tiny real model."""

import io
import json
from base64 import b64decode
from importlib import import_module

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pandas as pd
import pytest
from conftest import draw_shapes
from fiftyone import DatasetView
from panel_client import URI, Client
from PIL import Image

import mincurate
from mincurate.curation.export import DROP_TAG
from mincurate.curation.review import KEEP_TAG, MISLABELLED_TAG, SEEN_TAG
from mincurate.dataset import generated, plugin, writer
from mincurate.ranking import classes
from mincurate.runs import digests, store

pytestmark = pytest.mark.usefixtures("database", "linked")
CLASSES = 5
GENERATE = {"n": 6, "steps": 3, "train_steps": 6, "guide_steps": 6}


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("plugins"))
        patch.setenv("FIFTYONE_PLUGINS_DIR", folder)
        patch.setattr(fo.config, "plugins_dir", folder)
        plugin.install()
        yield


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("panel-home")


@pytest.fixture(autouse=True)
def module_home(module_folder, monkeypatch):
    monkeypatch.setenv("MINCURATE_HOME", str(module_folder))


@pytest.fixture(scope="module")
def scored(module_folder, database, tmp_path_factory):
    """120 pictures and a copy of the first, scored."""
    folder = tmp_path_factory.mktemp("images") / "set"
    draw_shapes(folder, discs=108, crosses=12)
    first = sorted(folder.rglob("*.png"))[0]
    first.with_name("copy.png").write_bytes(first.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(module_folder))
        quick = {"train_steps": 6, "n_draws": 2, "num_classes": CLASSES}
        return mincurate.score(folder, dataset="panel", umap=True, **quick)


@pytest.fixture
def dataset(scored):
    loaded = fo.load_dataset("panel")
    yield loaded
    loaded.untag_samples([KEEP_TAG, DROP_TAG, MISLABELLED_TAG, SEEN_TAG])


@pytest.fixture
def panel(dataset):
    return Client(dataset)


MANY, LABELS, GROUP, NEAR = 360, 40, 7, 300
RED, GREEN = (220, 30, 30), (30, 200, 60)


@pytest.fixture(scope="module")
def planted(database, tmp_path_factory):
    """A made-up run of 360 pictures with 40 labels, ranked as they are numbered: the rarest seven
    are red and lie close together, and a common one lies near to them: it is transparent, on the
    green ground of the run's rendering.
    """
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("planted")
    colors = rng.integers(60, 200, (MANY, 1)).repeat(3, 1)
    colors[:GROUP] = RED
    paths = [folder / f"{i:04d}.png" for i in range(MANY)]
    for path, color in zip(paths, colors, strict=True):
        Image.new("RGB", (16, 16), tuple(map(int, color))).save(path)
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(paths[NEAR])
    vectors, centre = rng.normal(size=(MANY, 64)), rng.normal(size=64)
    vectors[:GROUP] = centre + 0.1 * rng.normal(size=(GROUP, 64))
    vectors[NEAR] = centre + 0.3 * rng.normal(size=64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    score = np.linspace(3, 1, MANY)
    hashes = [f"{i:032x}" for i in range(MANY)]
    frame = pd.DataFrame(
        {
            "path": [str(path) for path in paths], "rel_path": [path.name for path in paths],
            "content_hash": hashes, "duplicate_of": pd.Series([None] * MANY, dtype="string"),
            "label": [f"label {i % LABELS:02d}" for i in range(MANY)], "minority_score": score,
            "minority_score_se": score / 20, "rarity": classes.percentile(score),
            "rarity_class": pd.array(classes.ordinal_classes(score, CLASSES), "Int64"),
            "neighbor_distance": score, "minority_score_calibrated": score, "complexity": 1.0,
            "width": 16, "height": 16, "map_x": score, "map_y": score, "status": "ok",
            "reason": pd.Series([None] * MANY, dtype="string"),
        }
    )  # fmt: skip
    frame.to_parquet(folder / "scores.parquet")
    frame[["content_hash"]].to_parquet(folder / "embeddings.parquet")
    np.save(folder / "embeddings.npy", vectors.astype(np.float32))
    record = {
        "key": "mincurate_900", "source": {"kind": "folder", "value": str(folder)},
        "settings": {"rank_by": "minority"}, "fingerprint": "", "sigma": 0.1, "n_draws": 2,
        "num_classes": CLASSES, "seed": 0, "class_edges": [], "perceptual": "unet",
        "rendering": {"background": "#{:02x}{:02x}{:02x}".format(*GREEN), "ranges": {}},
        "embedding": "unet", "warnings": [], "versions": {}, "model": {"name": "", "hash": ""},
        "created": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    writer.write_run(store.Run(folder), "panel-planted")
    return frame


def color(uri):
    """The colour of a picture that the panel was sent, on the whole."""
    sent = Image.open(io.BytesIO(b64decode(uri.partition(",")[2]))).convert("RGB")
    return np.asarray(sent, float).mean((0, 1))


def files(panel):
    """The files whose pictures are in sight, and these by file."""
    shown = {params["file"]: uri for params, uri in panel.pictures()}
    return list(shown), shown


def ranked(scored):
    frame = scored.frame
    images = frame[frame["duplicate_of"].isna()]
    return images.sort_values("rarity", ascending=False, kind="stable")


def in_tail(scored):
    """How many images the rarest tenth has: more than a tenth where the last of them tie."""
    rarity = ranked(scored)["rarity"]
    return int((rarity >= rarity.iloc[len(rarity) // 10 - 1]).sum())


def are_rarest_first(paths, scored):
    """Whether images are in the order of their rarity; those that tie may be in any."""
    return scored.frame.set_index("path")["rarity"][paths].is_monotonic_decreasing


def in_classes(scored, low, high):
    frame = scored.frame
    return set(frame.loc[frame["rarity_class"].between(low, high), "path"])


def test_it_registers_when_the_app_starts(panel):
    done = foo.execute_operator(URI, dataset=panel.dataset, params={})
    asked = [each["operator_uri"] for each in done.to_json()["executor"]["requests"]]
    assert done.error is None and asked == ["register_panel"]


def test_the_panel_is_drawn_before_the_grid_that_it_changes(panel):
    params = {"__method__": "on_bar", "panel_id": "p", "panel_state": {}, "trace_idx": 0}
    done = foo.execute_operator(URI, dataset=panel.dataset, params=params)
    asked = [e["operator_uri"].rpartition("/")[2] for e in done.to_json()["executor"]["requests"]]
    assert asked.index("show_panel_output") < asked.index("set_view") == len(asked) - 1


def test_it_opens_on_the_histogram_of_every_image(panel, scored):
    bars = panel.data["ranking.histogram"]
    assert [trace["name"] for trace in bars] == [f"class {c}" for c in range(CLASSES)]
    assert sum(sum(trace["y"]) for trace in bars) == len(ranked(scored))
    assert f"0 of {in_tail(scored)} images" in str(panel.layout)


def test_the_map_shows_every_image_and_the_classes_that_the_grid_shows(panel, scored):
    panel("on_tab", tab="map")
    dots = panel.data["map.dots"]
    assert sum(len(trace["x"]) for trace in dots) == len(ranked(scored))
    assert {trace["opacity"] for trace in dots} == {1.0}
    panel("on_tab", tab="ranking")
    panel("on_bar", trace_idx=CLASSES - 1)
    panel("on_tab", tab="map")
    assert [trace["opacity"] for trace in panel.data["map.dots"]] == [0.15] * (CLASSES - 1) + [1.0]
    panel("on_all")
    assert panel.data["map.dots[0].opacity"] == 1


def test_a_click_on_a_bar_shows_its_class_and_shift_widens_the_range(panel, scored):
    panel("on_bar", trace_idx=CLASSES - 1)
    assert set(panel.shown()) == in_classes(scored, CLASSES - 1, CLASSES - 1)
    assert panel.data["ranking.histogram[4].opacity"] == 1
    assert panel.data["ranking.histogram[0].opacity"] < 0.5
    assert "class 4" in panel.texts()["grid.shown"]
    panel("on_bar", trace_idx=2, shift_pressed=True)
    assert set(panel.shown()) == in_classes(scored, 2, 4)


def test_bars_that_are_dragged_over_give_the_range(panel, scored):
    panel("on_bars", data=[{"trace_idx": 3}, {"trace_idx": 1}, {"trace_idx": 2}])
    assert set(panel.shown()) == in_classes(scored, 1, 3)
    rarity = dict(zip(*panel.dataset.values(["filepath", "rarity"]), strict=True))
    order = [rarity[path] for path in panel.shown()]
    assert order == sorted(order, reverse=True)
    before = panel.grid
    panel("on_bars", data=[])
    assert panel.grid == before and panel.asked == []


def test_points_of_the_map_are_found_again(panel, scored):
    members = ranked(scored)[ranked(scored)["rarity_class"] == 4]
    panel("on_dot", trace_idx=4, idx=0)
    assert panel.shown() == [members.iloc[0]["path"]]
    panel("on_dots", data=[{"trace_idx": 4, "idx": 1}, {"trace_idx": 0, "idx": 0}])
    commonest = ranked(scored)[ranked(scored)["rarity_class"] == 0].iloc[0]["path"]
    assert panel.shown() == [members.iloc[1]["path"], commonest]


def test_a_cell_shows_the_images_of_its_label_and_class(panel, scored):
    panel("on_tab", tab="labels")
    heat = panel.data["labels.heat"][0]
    labels = scored.frame.loc[scored.frame["duplicate_of"].isna(), "label"]
    assert np.array(heat["text"]).sum() == len(labels)
    table_first = heat["hovertext"][0][0].split(":")[0]
    panel("on_cell", x=4, y=0)
    frame = scored.frame
    cell = frame[(frame["label"] == table_first) & (frame["rarity_class"] == 4)]
    assert set(panel.shown()) == set(cell["path"])


def test_the_rarest_of_each_label_are_pictures_that_open(panel, scored):
    panel("on_tab", tab="labels")
    shown = panel.pictures()
    assert shown and all(uri.startswith("data:image/webp") for _, uri in shown)
    rarest = {ranked(scored)[ranked(scored)["label"] == name].iloc[0]["path"]
              for name in ("disc", "cross")}  # fmt: skip
    assert rarest <= {params["file"] for params, _ in shown}
    panel("on_open", file=shown[0][0]["file"])
    assert panel.asked == [("open_sample", {"id": panel.ids([shown[0][0]["file"]])[0],
                                            "group_id": None})]  # fmt: skip
    panel("on_label", label="cross")
    assert len(panel.shown()) == 13, "with the copy"
    panel("on_open", file="/gone.png")
    assert panel.said() == ["/gone.png is not in this dataset any more."]


def test_kinds_are_shown_with_pictures_and_selected(panel, scored):
    panel("on_tab", tab="kinds")
    tail = set(ranked(scored).head(12)["path"])
    titles = [text for path, text in panel.texts().items() if path.endswith("title")]
    assert titles
    number = len(titles) - 1
    panel("on_kind", kind=number)
    chosen = panel.shown()
    assert set(chosen) <= tail and f"{len(chosen)} images" in titles[number]
    panel("on_select_kind", kind=number)
    assert [name for name, _ in panel.asked] == ["set_selected_samples"]
    assert [sample["id"] for sample in panel.asked[0][1]["samples"]] == panel.ids(chosen)


def test_a_kind_shows_the_images_that_were_planted_beside_the_common_one_near_to_them(planted):
    panel = Client(fo.load_dataset("panel-planted"))
    panel("on_tab", tab="kinds")
    assert panel.texts()["kinds.kind0.title"] == f"**Kind 1 · {GROUP} images**"
    shown, sent = files(panel)
    strip, common = shown[:5], shown[5]
    assert set(strip) < set(planted["path"][:GROUP]) and common == planted["path"][NEAR]
    assert all(np.abs(color(sent[file]) - RED).max() < 20 for file in strip)
    assert np.abs(color(sent[common]) - GREEN).max() < 20
    panel("on_kind", kind=0)
    assert set(panel.shown()) == set(planted["path"][:GROUP])


def test_every_cell_of_many_labels_comes_into_sight_and_is_clicked(planted):
    panel = Client(fo.load_dataset("panel-planted"))
    panel("on_tab", tab="labels")
    rows = panel.data["labels.heat"][0]["y"]
    assert rows == list(range(30)) and "Labels 1 to 30 of 40" in str(panel.texts())
    assert "share of the label" in panel.texts()["labels.how"]
    [turn] = [view["params"] for view in panel.views("Button") if view.get("label") == "Next 30"]
    panel("on_page", **turn)
    heat, axis = panel.data["labels.heat"][0], panel.views("PlotlyView")[0]["layout"]["yaxis"]
    assert heat["y"] == axis["tickvals"] == list(range(30, 40))
    assert "Previous 30" in panel.buttons() and "Next 30" not in panel.buttons()
    name, counts = axis["ticktext"][-1], heat["text"][-1]
    number = int(np.argmax(counts))
    panel("on_cell", x=number, y=heat["y"][-1])
    cell = planted[(planted["label"] == name) & (planted["rarity_class"] == number)]
    assert panel.shown() == cell["path"].tolist() and len(cell) == counts[number] > 0


def test_turning_pages_shows_the_pictures_of_other_labels(planted):
    panel = Client(fo.load_dataset("panel-planted"))
    panel("on_tab", tab="labels")
    first, _ = files(panel)
    assert "Previous" not in panel.buttons()
    panel("on_page", step=1)
    second, sent = files(panel)
    assert "(6 to 10)" in panel.texts()["labels.head.title"]
    assert not set(first) & set(second) and all(uri.startswith("data:") for uri in sent.values())
    panel("on_page", step=-1)
    assert files(panel)[0] == first
    panel("on_page", step=-1)
    assert files(panel)[0] == first, "there is no page before the first"
    panel("on_page", step=500)
    assert "(36 to 40)" in panel.texts()["labels.head.title"] and "Next" not in panel.buttons()


def test_another_dataset_begins_anew(panel, planted):
    panel("on_tab", tab="labels")
    panel("on_bar", trace_idx=2)
    assert "class 2, rarest first" in panel.texts()["grid.shown"]
    panel.dataset = fo.load_dataset("panel-planted")
    panel("on_change_dataset")
    assert "labels.heat" not in panel.data and "ranking.how" in panel.texts()
    assert sum(sum(trace["y"]) for trace in panel.data["ranking.histogram"]) == MANY
    assert panel.texts()["grid.shown"] == "Grid: as you left it"
    assert {trace["opacity"] for trace in panel.data["ranking.histogram"]} == {1.0}


def test_the_selected_image_is_reconstructed(panel, scored):
    panel("on_tab", tab="image")
    assert "Select an image" in panel.texts()["image.none"]
    images = ranked(scored)
    row = images[images["rarity_class"] != images["minority_class"]].iloc[0]
    panel("on_change_selected", selected=panel.ids([row["path"]]))
    pictures = [uri for _, uri in panel.pictures()]
    assert len(pictures) == len(set(pictures)) == 3
    assert all(uri.startswith("data:image/webp") for uri in pictures)
    facts = panel.texts()["image.facts"]
    assert f"rarity class {row['rarity_class']}" in facts and "by embedding rarity" in facts
    assert f"minority class {row['minority_class']}" in facts
    assert f"minority score {row['minority_score']:.3f}" in facts
    assert f"rarer than {row['rarity']:.1%}" in facts


def test_the_run_tab_says_every_warning_and_diagnostic(panel, scored):
    panel("on_tab", tab="run")
    record = store.all_runs()[0].record
    layout = str(panel.layout)
    assert layout.count("'Warning'") == len(record["warnings"])
    assert "Repeatable" in layout and str(record["sigma"]) in layout.replace("\\", "")


def test_verdicts_are_tags_and_the_review_counts_them(panel, scored):
    panel("on_verdict", tag=KEEP_TAG)
    assert panel.said() == ["Select images in the grid first."]
    paths = ranked(scored)["path"].tolist()
    panel("on_verdict", selected=panel.ids(paths[:3]), tag=KEEP_TAG)
    assert panel.said() == [f"3 images tagged {KEEP_TAG}"]
    panel("on_verdict", selected=panel.ids(paths[2:3]), tag=DROP_TAG)
    panel("on_verdict", selected=panel.ids(paths[2:4]), tag=MISLABELLED_TAG)
    panel("on_change_current_sample", selected=[], current=panel.ids(paths[4:5])[0])
    panel("on_change_current_sample", selected=[], current=panel.ids(paths[-1:])[0])
    tags = dict(zip(*panel.dataset.values(["filepath", "tags"]), strict=True))
    assert tags[paths[-1]] == [], "of the tail alone"
    assert [sorted(tags[path]) for path in paths[:6]] == [
        [KEEP_TAG], [KEEP_TAG], sorted([DROP_TAG, MISLABELLED_TAG]), [MISLABELLED_TAG],
        [SEEN_TAG], [],
    ]  # fmt: skip
    assert f"5 of {in_tail(scored)} images looked at" in str(panel.layout)
    assert "2 rare-keep · 1 outlier-drop · 2 mislabelled" in str(panel.layout)
    panel("on_unseen")
    assert set(panel.shown()) == set(paths[5 : in_tail(scored)])
    assert are_rarest_first(panel.shown(), scored)
    panel("on_tagged", tag=KEEP_TAG)
    assert set(panel.shown()) == set(paths[:2])
    panel("on_verdict", selected=panel.ids(paths[:1]), tag="")
    assert panel.dataset.match_tags(KEEP_TAG).values("filepath") == paths[1:2]


def test_a_review_shows_what_is_like_the_kept_images_and_how_many_are_left(planted):
    panel = Client(fo.load_dataset("panel-planted"))
    panel("on_tab", tab="review")
    shown, _ = files(panel)
    assert len(shown) == 40 and "0 kept and 0 dropped" in panel.texts()["review.words"]
    panel("on_review")
    assert panel.shown() == shown
    red = planted["path"][:GROUP].tolist()
    panel("on_verdict", selected=panel.ids(red[:3]), tag=KEEP_TAG)
    panel("on_verdict", selected=panel.ids(planted["path"][20:30]), tag=DROP_TAG)
    assert "3 kept and 10 dropped. About" in panel.texts()["review.words"]
    shown, sent = files(panel)
    assert set(red[3:]) <= set(shown[:5]) and all(sent[file] for file in shown)
    panel("on_next_review", selected=[])
    again, _ = files(panel)
    assert len(again) == 40 and not set(again) & set(shown)
    panel.dataset.untag_samples([KEEP_TAG, DROP_TAG, SEEN_TAG])


def test_what_was_seen_counts_and_is_no_verdict(panel, scored):
    paths = ranked(scored)["path"].tolist()
    panel("on_verdict", selected=panel.ids(paths[:2]), tag=SEEN_TAG)
    assert panel.said() == [f"2 images tagged {SEEN_TAG}"]
    assert set(panel.dataset.match_tags(SEEN_TAG).values("filepath")) == set(paths[:2])
    assert f"2 of {in_tail(scored)} images looked at" in str(panel.layout)
    assert SEEN_TAG not in panel.buttons()
    panel("on_unseen")
    assert set(panel.shown()) == set(paths[2 : in_tail(scored)])
    assert are_rarest_first(panel.shown(), scored)


def test_buttons_that_need_a_selection_wait_for_one(panel, scored):
    assert "Keep" not in panel.buttons() and "More like these…" not in panel.buttons()
    panel("on_change_selected", selected=panel.ids(ranked(scored)["path"].tolist()[:2]))
    assert "Keep" in panel.buttons() and "More like these…" in panel.buttons()
    assert panel.texts()["verdicts.chosen"] == "**2 selected**"


def test_the_panel_says_no_longer_what_the_grid_shows_when_that_has_changed(panel):
    panel("on_bar", trace_idx=4)
    foreign = panel.dataset.limit(3)
    done = foo.execute_operator(
        URI, view=foreign, dataset=panel.dataset,
        params={"__method__": "on_change_view", "panel_id": "p", "panel_state": panel.state},
    )  # fmt: skip
    assert "as you left it" in str(done.to_json())


def test_a_page_that_is_loaded_anew_says_what_its_grid_still_shows(panel):
    panel("on_bar", trace_idx=4)
    of_class = DatasetView._build(panel.dataset, panel.grid)
    for view, words in (
        (of_class, "class 4, rarest first"),
        (panel.dataset.view(), "as you left it"),
    ):
        done = foo.execute_operator(
            URI, view=view, dataset=panel.dataset,
            params={"__method__": "on_load", "panel_id": "p", "panel_state": {}},
        )  # fmt: skip
        assert words in str(done.to_json())


def test_no_click_but_on_a_tab_changes_the_state_that_the_app_keeps_in_its_layout(panel):
    """Because that is another page to the App, which takes a second to draw it."""
    for method in ("on_bar", "on_all", "on_unseen", "on_load"):
        panel(method, **({"trace_idx": 1} if method == "on_bar" else {}))
        assert panel.state == {}
    panel("on_tab", tab="labels")
    assert panel.state == {"tab": "labels", "page": 0}


def test_requests_stay_small_and_answers_hold_what_is_in_sight(panel, scored):
    for tab in ("labels", "kinds", "run", "ranking"):
        panel("on_tab", tab=tab)
        assert panel.sent < 400
        panel("on_bar", trace_idx=3)
        assert panel.sent < 400
        assert panel.received < 60_000


def test_dropped_images_are_left_out_of_an_export(panel, scored, tmp_path, module_folder):
    paths = ranked(scored)["path"].tolist()
    panel("on_verdict", selected=panel.ids(paths[:2]), tag=DROP_TAG)
    foo.execute_operator(
        "@mincurate/mincurate/export", dataset=panel.dataset, params={"folder": str(tmp_path / "o")}
    )
    from pandas import read_csv

    written = set(read_csv(tmp_path / "o" / "provenance.csv")["original"])
    assert not written & set(paths[:2]) and set(paths[2:]) <= written


@pytest.mark.slow
def test_what_was_kept_is_varied_and_the_panel_shows_what_came_out(panel, scored):
    paths = ranked(scored)["path"].tolist()
    panel("on_tab", tab="made")
    assert "Nothing has been generated" in panel.texts()["made.none"]
    panel("on_verdict", selected=panel.ids(paths[:2]), tag=KEEP_TAG)
    hashes = scored.frame.set_index("path").loc[paths[:2], "content_hash"]
    assert sorted(generated.selection("panel", f"tag:{KEEP_TAG}")) == sorted(hashes)
    foo.execute_operator(
        "@mincurate/mincurate/more_like_these", dataset=panel.dataset,
        params={"like": f"tag:{KEEP_TAG}", **GENERATE},
    )  # fmt: skip
    panel.dataset.reload()
    panel("on_tab", tab="made")
    assert "6 images" in panel.texts()["made.words"]
    generation = store.all_runs()[-1]
    frame = pd.read_parquet(generation.path / "synthetic.parquet")
    frame["accepted"], frame["reason"] = [True, True, False, False, False, False], "odd"
    frame["rarity_class"], frame["minority_class"] = [4, 0, 4, 4, 4, 4], 4
    generation.update(settings=generation.record["settings"] | {"target_classes": [4]})
    with digests.held(generation):
        frame.to_parquet(generation.path / "synthetic.parquet")
    panel("on_tab", tab="made")
    asked = "Of 2 accepted images that were asked for by {} class, {} are of that class or rarer."
    assert panel.texts()["made.words"].endswith(asked.format("rarity", "50%"))
    generation.update(settings=generation.record["settings"] | {"by": "minority"})
    panel("on_tab", tab="made")
    assert panel.texts()["made.words"].endswith(asked.format("minority", "100%"))
    generation.update(settings=generation.record["settings"] | {"by": "rarity"})
    curves = panel.data["made.spread"]
    assert curves[0]["name"] == "real (120)"
    assert sum(int(c["name"].rpartition("(")[2][:-1]) for c in curves[1:]) == 6
    stranger = fo.Sample(filepath="/other.png", tags=["synthetic", "mincurate_77"])
    panel.dataset.add_sample(stranger)
    panel("on_generated")
    assert len(panel.shown()) == 6, "those of another run are left out"
    panel.dataset.delete_samples(stranger)
    panel("on_all")
    assert len(panel.shown()) == 121, "generated images are no part of the ranking"


def test_without_scores_the_panel_says_how_to_get_some(scored):
    bare = fo.Dataset("panel-bare", overwrite=True)
    try:
        panel = Client(bare)
        assert "score it first" in panel.texts()["none"]
        assert panel.buttons() == ["Score this dataset…"]
        panel("on_bar", trace_idx=1)
        assert len(panel.said()) == 1 and "score it first" in panel.said()[0]
    finally:
        bare.delete()


def test_names_from_strangers_carry_no_markup():
    package = type(foo.get_operator(URI)).__module__.rpartition(".")[0]
    parts = import_module(".panel_parts", package)
    plots = import_module(".panel_plots", package)
    assert parts.quoted("[a](b) <i>*c*") == r"\[a\]\(b\) \<i\>\*c\*"
    assert plots.plain('<a href="x">b</a>') == '&lt;a href="x"&gt;b&lt;/a&gt;'
