"""The report of a run made by hand from real pictures: what it says, and what it survives."""

import base64
import hashlib
import inspect
import io
import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bs4 import BeautifulSoup
from conftest import CIFAR, draw_shapes
from PIL import Image

from mincurate import text as texts
from mincurate.images import decode, decode_pool
from mincurate.images.bit_depth import Rendering
from mincurate.ranking import classes, diagnostics
from mincurate.report import diagnostics_text, figures, hover_map, run_page
from mincurate.runs import command, store
from mincurate.runs.store import Run

LABELS = ["automobile"] * 14 + ["ship"] * 5 + ["frog"]
LETTERS = "".join({*"".join(LABELS)})
RECORD: dict[str, Any] = {
    "key": "mincurate_7",
    "created": "2026-11-24T01:59:28Z",
    "finished": "2026-11-24T02:12:46Z",
    "version": "0.1.0",
    "source": {"kind": "folder", "value": "/data/my pictures"},
    "dataset": "my-pictures",
    "settings": {"sigma": 0.16, "n_draws": 5, "num_classes": 10, "rank_by": "minority"},
    "fingerprint": "0f84c7324e13061141c50c5c7a3eae6e",
    "rank_by": "minority",
    "sigma": 0.16,
    "n_draws": 5,
    "num_classes": 10,
    "perceptual": "torchvision:squeezenet1_0",
    "embedding": "torchvision:squeezenet1_0",
    "map_method": "umap",
    "model": {
        "name": "/home/me/.mincurate/models/12db",
        "hash": "a54026b2",
        "image_size": 32,
        "trained_here": True,
        "trained_minutes": 10.2,
        "curve": [[1000 * i, 1 / i, 1.1 / i] for i in range(1, 21)],
    },
    "diagnostics": {
        "spearman_complexity": 0.62,
        "agreement_neighbors": 0.31,
        "rank_stability": 0.97,
        "mean_relative_se": 0.061,
        "denoising_gain": 1.2,
    },
    "warnings": ["The minority score follows image complexity (Spearman 0.62)."],
    "versions": {"torch": "2.14.1"},
}
MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sixty CIFAR images where the archive is at hand, and drawn ones elsewhere."""
    folder = tmp_path_factory.mktemp("pictures")
    if CIFAR.is_file():
        with zipfile.ZipFile(CIFAR) as archive:
            names = [n for n in archive.namelist() if n.endswith((".jpg", ".png"))]
            for i, name in enumerate(names[:: max(1, len(names) // 60)][:60]):
                (folder / f"{i}{Path(name).suffix}").write_bytes(archive.read(name))
    else:
        draw_shapes(folder, discs=30, crosses=30)
    return sorted(p for p in folder.rglob("*") if p.is_file())


def build(
    folder: Path,
    pictures: list[Path],
    n: int = 60,
    *,
    change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
    reconstructions: bool = True,
    **record: object,
) -> Run:
    """A finished run of ``n`` images in ``folder``, as `mincurate score` leaves it."""
    run = Run(folder)
    frame = change(table(n, pictures))
    kinds = {name: pa.string() for name in TEXT} | {name: pa.int64() for name in WHOLE}
    columns = {c: pa.array(frame[c], kinds.get(c, pa.float64()), from_pandas=True) for c in frame}
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    if reconstructions:
        both = figures.ends(classes.rarest_first(run.frame(), "minority_score"))
        rows = pd.concat([end.head(12) for end in both])
        noise = np.random.default_rng(1).integers(0, 255, (2, len(rows), 32, 32, 3))
        np.savez_compressed(
            folder / "reconstructions.npz",
            content_hash=rows["content_hash"].to_numpy(str),
            original=noise[0].astype(np.uint8),
            reconstruction=noise[1].astype(np.uint8),
        )
    run.update(**RECORD | record)
    return run


@pytest.fixture
def make_run(tmp_path: Path, pictures: list[Path]) -> MakeRun:
    return partial(build, tmp_path, pictures)


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Run:
    """A run of 200 images in which nothing is missing, with its report written."""
    edges = [0.12 + 0.01 * i for i in range(9)]
    run = build(tmp_path_factory.mktemp("usual"), pictures, 200, class_edges=edges)
    run_page.write_report(run)
    return run


@pytest.fixture
def page(usual: Run) -> BeautifulSoup:
    return BeautifulSoup((usual.path / "report.html").read_text("utf-8"), "html.parser")


TEXT = ("path", "rel_path", "content_hash", "label", "duplicate_of", "status", "reason", "warning")
WHOLE = ("width", "height", "rarity_class", "rarity_class_within_label")


def table(n: int, pictures: list[Path]) -> pd.DataFrame:
    """Scores that lean towards the last label, and a map with one blob per label."""
    rng = np.random.default_rng(0)
    labels = np.array([LABELS[i % len(LABELS)] for i in range(n)])
    kind = np.array([{"automobile": 0, "ship": 1, "frog": 2}[label] for label in labels])
    score = 0.1 + rng.gamma(6, 0.01, n) + 0.03 * kind
    return pd.DataFrame(
        {
            "path": [str(pictures[i % len(pictures)]) for i in range(n)],
            "rel_path": [f"{label}/{i:05d}.jpg" for i, label in enumerate(labels)],
            "content_hash": [f"{i:032x}" for i in range(n)],
            "label": labels,
            "width": 32,
            "height": 32,
            "minority_score": score,
            "minority_score_se": score * 0.06,
            "rarity": classes.percentile(score),
            "neighbor_distance": rng.uniform(0.3, 0.9, n),
            "minority_score_calibrated": rng.uniform(0, 1, n),
            "complexity": rng.uniform(1, 2, n),
            "rarity_class": classes.ordinal_classes(score, 10),
            "rarity_class_within_label": classes.classes_within(score, labels, 10),
            "duplicate_of": None,
            "map_x": 3 * (kind == 1) + rng.normal(0, 1, n),
            "map_y": 3 * (kind == 2) + rng.normal(0, 1, n),
            "status": "ok",
            "reason": None,
        }
    )


def unscored(frame: pd.DataFrame, rows: slice, reason: str = "truncated JPEG") -> pd.DataFrame:
    """These rows as files that could not be scored."""
    names = list(frame.columns)
    numbers = [c for c in names if c not in (*TEXT, "width", "height")]
    frame = frame.astype(dict.fromkeys(WHOLE, "Int64"))
    frame.loc[frame.index[rows], numbers] = pd.NA
    frame.loc[frame.index[rows], "status"] = "unscorable"
    frame.loc[frame.index[rows], "reason"] = reason
    return frame


def read(run: Run) -> BeautifulSoup:
    return BeautifulSoup(run_page.write_report(run).read_text("utf-8"), "html.parser")


def words(page: BeautifulSoup, section: str) -> str:
    found = page.find(id=section)
    assert found is not None, f"no section {section}"
    return " ".join(found.get_text(" ").split())


def points(page: BeautifulSoup) -> dict[str, Any]:
    return json.loads(page.find("script", id="points").string)


def test_the_facts_are_told_first(page):
    assert "my-pictures" in page.h1.get_text()
    facts = {
        box.dt.get_text(): [dd.get_text() for dd in box.find_all("dd")]
        for box in page.select(".facts > div")
    }
    assert facts["images"][0] == "200"
    assert facts["scored"] == ["200", "200 different"]
    assert facts["unscorable"][0] == facts["duplicates"][0] == "0"
    assert facts["model"] == ["trained on these images", "32 px, 10 min of training"]
    assert facts["noise level"] == ["0.16", "sigma; 5 draws per image"]
    assert facts["distance"][0] == "torchvision:squeezenet1_0"
    assert "finished 2026-11-24 02:12 UTC" in page.get_text()
    assert "Higher means rarer" in page.get_text()
    assert "run mincurate_7, finished" in page.get_text()


def test_warnings_stand_before_the_pictures(usual):
    text = (usual.path / "report.html").read_text("utf-8")
    assert text.index(RECORD["warnings"][0]) < text.index("<img")


def test_a_run_without_warnings_has_no_box(make_run):
    assert read(make_run(warnings=[])).find(id="warnings") is None


def test_the_sheets_show_both_ends_outermost_first(usual, page):
    frame = usual.frame().sort_values("minority_score")
    most = [f["title"] for f in page.find(id="most").find_all("figure")]
    least = [f["title"] for f in page.find(id="least").find_all("figure")]
    assert most == frame["rel_path"].tolist()[::-1][:48]
    assert least == frame["rel_path"].tolist()[:48]
    top = frame.iloc[-1]
    caption = " ".join(page.find(id="most").figcaption.get_text().split())
    score = f"{top.minority_score:.3f} ± {top.minority_score_se:.3f}"
    assert caption == f"{score} class 9 · #1 {top.label}"
    assert "class 0 · #200" in " ".join(page.find(id="least").figcaption.get_text().split())


def test_the_class_under_a_picture_has_the_colour_of_the_histogram(page):
    tile = page.find(id="most").figcaption
    assert tile.find("i")["style"] == f"background:{figures.class_colors(10)[9]}"


def test_the_sheet_in_a_file_shows_score_class_and_label(usual, page):
    top = classes.rarest_first(usual.frame(), "minority_score").head(2)
    labelled = top.assign(label=["$x$", None])
    [first, second] = figures._captions(labelled, "minority_score")
    assert first == (f"{top.minority_score.iloc[0]:.3f}", "class 9\n$x$")
    assert second[1] == "class 9"
    sheet = figures._contact_sheet([None, None], [first, second], "Rarest images")
    assert "class 9\n$x$" in {text.get_text() for text in sheet.axes[0].texts}
    sheet.savefig(io.BytesIO())  # a formula would fail here, or vanish


def test_no_image_is_in_both_sheets(make_run):
    page = read(make_run(7, reconstructions=False))
    sheets = [[f["title"] for f in page.find(id=i).find_all("figure")] for i in ("most", "least")]
    assert [len(s) for s in sheets] == [4, 3]
    assert not set(sheets[0]) & set(sheets[1])


def test_the_histogram_counts_every_image_and_has_every_edge(page):
    drawing = page.find(id="histogram").svg
    counts = [int(bar.title.get_text().split()[0]) for bar in drawing.find_all("rect")]
    assert sum(counts) == 200
    assert len(drawing.find_all("line")) == 9


def test_reconstructions_stand_beside_the_originals_with_their_scores(page):
    pairs = page.find(id="reconstructions").find_all("figure")
    assert len(pairs) == 24
    assert all(len(pair.find_all("img")) == 2 for pair in pairs)
    ranks = [int(p.figcaption.get_text(strip=True).split("#")[1].rstrip(LETTERS)) for p in pairs]
    assert ranks == [*range(1, 13), *range(200, 188, -1)]


def test_every_image_on_the_map_has_a_picture_a_name_and_a_class(usual, page):
    data, frame = points(page), usual.frame().set_index("rel_path")
    assert len(data["points"]) == data["hover"] == 200
    for _, _, ordinal_class, picture, name, rarity, label in data["points"]:
        row = frame.loc[name]
        assert (ordinal_class, label) == (row.rarity_class, row.label)
        assert rarity == f"{row.rarity:.3f}"
        assert picture >= 0


def test_a_sprite_is_the_picture_of_its_point(usual, page):
    data, frame = points(page), usual.frame().set_index("rel_path")
    sheet = Image.open(io.BytesIO(decoded(data["sheets"][0]))).convert("RGB")
    assert len(data["sheets"]) == 1
    for point in data["points"][::17]:
        row, column = divmod(point[3], data["columns"])
        side = data["cell"]
        box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
        shown = np.asarray(sheet.crop(box), float)
        file = Image.open(frame.loc[point[4], "path"]).convert("RGB").resize((side, side))
        assert np.abs(shown - np.asarray(file, float)).mean() < 12


def decoded(uri: str) -> bytes:
    assert uri.startswith("data:image/webp;base64,")
    return base64.b64decode(uri.partition(",")[2])


def test_a_pca_map_says_so(make_run):
    assert "PCA" in words(read(make_run(20, map_method="pca")), "map-section")


@pytest.mark.parametrize(("method", "narrowed"), [("umap", True), ("pca", False)])
def test_a_few_far_images_do_not_squash_a_umap(make_run, method, narrowed):
    """Between far groups of a UMAP the distance means nothing; in a PCA it does."""

    def far(frame):
        return frame.assign(map_x=frame["map_x"].where(frame.index > 2, 1000))

    page = read(make_run(60, change=far, map_method=method))
    x = sorted(point[0] for point in points(page)["points"])
    assert (x[-4] > 500) is narrowed and x[-1] == 1000
    assert ("wide gaps are narrowed" in words(page, "map-section")) is narrowed


@pytest.mark.parametrize(("n", "reason"), [(60, "--no-umap"), (2, "at least three")])
def test_a_missing_map_says_why(make_run, n, reason):
    def without(frame):
        return frame.assign(map_x=np.nan, map_y=np.nan)

    run = make_run(n, change=without, map_method="none")
    page = read(run)
    assert reason in words(page, "map-section")
    assert page.find("script") is None
    assert not (run.path / "figures" / "map.png").exists()


def test_the_label_that_leans_most_to_the_tail_comes_first(usual, page):
    frame = usual.frame()
    rows = [
        [" ".join(cell.get_text().split()) for cell in row.find_all(["th", "td"])]
        for row in page.find(id="labels").tbody.find_all("tr")
    ]
    assert rows[0][0] == "frog"
    rare = (frame["label"] == "frog") & (frame["rarity_class"] == 9)
    assert rows[0][1:3] == ["10", f"{10 * rare.sum()} % ({rare.sum()})"]
    shares = [int(row[2].split()[0]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(int(c.replace("·", "0")) for row in rows for c in row[3:]) == 200


def test_many_classes_share_columns(make_run):
    page = read(make_run(60, num_classes=100))
    assert len(page.find(id="labels").thead.find_all("th")) == 3 + run_page.COLUMNS


def test_images_without_labels_say_so(make_run):
    page = read(make_run(change=lambda frame: frame.assign(label=None)))
    assert "no labels" in words(page, "labels")
    assert page.find(id="labels").table is None


def test_duplicates_are_grouped_counted_and_capped(make_run):
    def copied(frame):
        first = frame.iloc[5]
        copies = pd.DataFrame([first] * 14).assign(
            rel_path=[f"copy/{i}.jpg" for i in range(14)], duplicate_of=first["rel_path"]
        )
        return pd.concat([frame, copies], ignore_index=True)

    page = read(make_run(60, change=copied))
    text = words(page, "duplicates")
    assert "14 files have the same content" in text
    assert "automobile/00005.jpg and 14 copies" in text
    assert "copy/9.jpg and 4 more" in text
    assert "copy/10.jpg" not in text
    assert len(points(page)["points"]) == 60


def test_unscorable_files_are_listed_by_reason_and_then_counted(make_run):
    def damaged(frame):
        return unscored(unscored(frame, slice(0, 600)), slice(600, 603), "empty file")

    page = read(make_run(650, change=damaged))
    text = words(page, "unscorable")
    assert "603 files, by reason" in text
    assert text.index("600 × truncated JPEG") < text.index("3 × empty file")
    assert len(page.find(id="unscorable").find_all("li")) == run_page.LISTED
    assert "and 100 more" in text
    assert "and 3 more" in text


def test_images_read_with_a_part_missing_are_listed_by_what_is_missing(make_run, page):
    assert page.find(id="warned") is None

    def warned(frame):
        frame["warning"] = None
        frame.loc[frame.index[:3], "warning"] = "the first of 5 pages"
        frame.loc[frame.index[3], "warning"] = "damaged tEXt chunk left out"
        return frame

    text = words(read(make_run(20, change=warned)), "warned")
    assert "4 files, by what is missing or left out" in text
    assert text.index("3 × the first of 5 pages") < text.index("1 × damaged tEXt chunk left out")


def test_a_run_in_which_nothing_was_scored_still_has_a_report(make_run):
    run = make_run(9, change=lambda f: unscored(f, slice(0, 9)), diagnostics={}, class_edges=[])
    page = read(run)
    assert "No image could be scored" in words(page, "most")
    assert "9 × truncated JPEG" in words(page, "unscorable")
    assert list((run.path / "figures").iterdir()) == []


def test_a_single_image_still_has_a_report(make_run):
    def alone(frame):
        return frame.assign(
            map_x=np.nan,
            map_y=np.nan,
            minority_score_se=np.nan,
            neighbor_distance=np.nan,
            rarity_class_within_label=None,
        )

    run = make_run(1, change=alone, diagnostics={}, map_method="none", class_edges=[])
    page = read(run)
    assert len(page.find(id="most").find_all("figure")) == 1
    assert page.find(id="least") is None
    assert "only one image" in words(page, "histogram")
    assert sorted(p.name for p in (run.path / "figures").iterdir()) == ["rarest.png"]


def test_an_image_without_a_class_still_has_a_report(make_run):
    """As --rank-by neighbors leaves an only image, which has no neighbours."""

    def rankless(frame):
        return frame.assign(rarity=np.nan, rarity_class=None, neighbor_distance=np.nan)

    page = read(make_run(1, change=rankless, rank_by="neighbors"))
    assert len(page.find(id="most").find_all("figure")) == 1


def test_equal_scores_still_have_a_report(make_run):
    page = read(make_run(30, change=lambda f: f.assign(minority_score=0.0, rarity=0.5)))
    assert "all scores are equal" in words(page, "histogram")


def test_missing_parts_of_the_record_are_left_out(make_run):
    run = make_run(60, reconstructions=False)
    record = json.loads((run.path / "run.json").read_text())
    kept = {name: record[name] for name in ("key", "created", "finished", "settings", "source")}
    (run.path / "run.json").write_text(json.dumps(kept))
    page = read(run)
    assert page.find(id="reconstructions") is None
    assert page.find(id="training") is None
    assert page.find(id="warnings") is None
    assert "my pictures" in page.h1.get_text()


def test_a_file_that_has_gone_leaves_a_placeholder(make_run):
    page = read(
        make_run(60, change=lambda f: f.assign(path=f["path"].where(f.index % 2 > 0, "/x")))
    )
    tiles = page.select("#most figure, #least figure")
    assert len(tiles) == 60
    assert len(page.select("#most .gone, #least .gone")) == 30
    assert sum(point[3] == -1 for point in points(page)["points"]) == 30


def test_diagnostics_say_what_they_mean_and_whether_they_are_good(make_run):
    page = read(make_run(diagnostics=RECORD["diagnostics"] | {"something_new": 3.0}))
    verdicts = {
        row.small.get_text(): row.find(class_="verdict").get_text(strip=True)
        for row in page.find(id="diagnostics").tbody.find_all("tr")
    }
    assert verdicts["spearman_complexity"] == "✗ poor"
    assert verdicts["rank_stability"] == "✓ good"
    assert verdicts["denoising_gain"] == "~ fair"
    assert verdicts["something_new"] == ""
    assert "6.1%" in words(page, "diagnostics")


def test_every_diagnostic_that_is_computed_is_explained():
    computed = set(re.findall(r'numbers\["(\w+)"\] =', inspect.getsource(diagnostics)))
    assert computed <= set(diagnostics_text.MEANINGS)


def test_a_curve_with_gaps_is_drawn_without_them(make_run):
    curve = [[100, None, 0.9], [200, 0.8, None], [300, 0.7, 0.75], [400, float("nan"), 0.7]]
    page = read(make_run(model=RECORD["model"] | {"curve": curve}))
    train, held_out = page.find(id="training").find_all("polyline")
    assert len(train["points"].split()) == 2
    assert len(held_out["points"].split()) == 3


ASKED = ["--sigma", "0.16", "--n-draws", "5", "--num-classes", "10", "--rank-by", "minority"]


def printed(run: Run) -> list[list[str]]:
    return [shlex.split(code.get_text()) for code in read(run).select("#next pre code")]


def test_the_commands_can_be_pasted_into_a_shell(make_run, tmp_path):
    commands = printed(make_run(dataset="it's mine"))
    assert commands[0] == ["mincurate", "launch", "it's mine"]
    assert commands[1][:3] == ["mincurate", "score", "/data/my pictures"]
    places = ["--dataset", "it's mine", "--output", str(tmp_path)]
    assert commands[1][3:] == [*ASKED, *places]


@pytest.mark.parametrize(
    ("value", "dataset", "said"),
    [
        ("birds", "birds", []),
        ("birds/my view", "birds", []),
        ("birds", "other", ["--dataset", "other"]),
        ("birds", None, ["--no-fiftyone"]),
    ],
)
def test_the_command_for_a_dataset_names_another_where_one_was_given(home, value, dataset, said):
    run = store.create()
    run.update(**RECORD | {"source": {"kind": "fiftyone", "value": value}, "dataset": dataset})
    asked = ["mincurate", "score", f"fiftyone:{value}", *ASKED, *said]
    assert shlex.split(command.command(run)) == asked


def test_the_command_repeats_switches_and_the_ranking(home):
    run = store.create()
    more = {"labels": False, "within_label": True, "umap": False, "label_field": "kind"}
    run.update(**RECORD | {"settings": more, "rank_by": "neighbors"})
    words = shlex.split(command.command(run))
    for word in ("--no-labels", "--within-label", "--no-umap", "neighbors", "kind"):
        assert word in words


def test_files_in_options_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    (tmp_path / "unet").mkdir()
    assert command.lasting("unet") == "unet"
    assert command.lasting("unet", bare=True) == command.lasting("./unet") == str(tmp_path / "unet")
    assert (
        command.lasting("torchvision:x@w.safetensors") == f"torchvision:x@{tmp_path}/w.safetensors"
    )
    assert command.lasting("google/ddpm-cifar10-32", bare=True) == "google/ddpm-cifar10-32"


def test_every_repeated_setting_is_an_option_of_score():
    from mincurate.cli import option_checks, score

    options = set(inspect.signature(score.score).parameters)
    options |= set(option_checks.USES["score"].replace("-", "_").split())
    assert {*command.VALUES, *command.SWITCHES} <= options


def test_the_command_leaves_out_options_without_effect(home):
    run = store.create()
    budget = {"train_minutes": 10.0, "train_steps": 30, "image_size": 16}
    run.update(**RECORD | {"settings": budget})
    assert "--train-steps 30" in command.command(run)
    assert "--train-minutes" not in command.command(run)
    run.update(settings=budget | {"model": "mine"})
    assert "--model mine" in command.command(run)
    assert not {"--train-steps", "--image-size"} & set(command.command(run).split())


def test_another_ranking_is_named_and_its_value_shown(make_run):
    page = read(make_run(rank_by="calibrated"))
    assert "--rank-by calibrated" in words(page, "most")
    assert "calibrated" in page.find(id="most").figcaption.get_text()
    assert "minority score calibrated" in words(page, "histogram")


def test_ranking_within_labels_is_explained(make_run):
    """Classes then have no common edges, and every label fills all: the whole set's are counted."""

    def apart(frame):
        rarity = classes.percentile_within(frame["minority_score"], frame["label"])
        return frame.assign(rarity_class=frame["rarity_class_within_label"], rarity=rarity)

    page = read(
        make_run(
            200,
            change=apart,
            settings=RECORD["settings"] | {"within_label": True},
            class_edges=[],
            class_edges_by_label={"frog": [0.1] * 9},
        )
    )
    assert "against those of its own label" in words(page, "most")
    assert "no common edges" in words(page, "histogram")
    assert page.find(id="histogram").svg.find_all("line") == []
    counts = [int(bar.title.get_text().split()[0]) for bar in page.select("#histogram rect")]
    assert sum(counts) == 200
    table = page.find(id="labels").tbody
    tails = [int(row.find_all("td")[-1].get_text().replace("·", "0")) for row in table("tr")]
    assert sum(tails) == 20 and tails[0] > 1  # frogs lead, as in the whole set
    assert "those of the whole set" in words(page, "labels")


def test_kinds_of_rare_are_shown_with_what_sets_them_apart(make_run):
    """The tail of 200 holds a tight group of twelve frogs and eight that resemble nothing."""
    run = make_run(200, trust={"level": "fair", "words": "fair: look twice."})
    frame = run.frame()
    known = classes.rarest_first(frame, "minority_score")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 64))
    group, centre = known.index[:12], rng.normal(size=64)
    vectors[group] = centre + 0.1 * rng.normal(size=(12, 64))
    frame.loc[group, "label"] = "frog"
    frame["rarity_kind"] = pd.Series("rare", index=group, dtype="string")
    frame["broken"] = pd.Series("blurred", index=known.index[-2:], dtype="string")
    frame.loc[known.index[-2:], "rarity_kind"] = "broken"
    frame.to_parquet(run.path / "scores.parquet")
    np.save(run.path / "embeddings.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    frame[["content_hash"]].to_parquet(run.path / "embeddings.parquet")
    page = read(run)
    said = words(page, "kinds")
    assert re.search(r"Kind 1 \(frog, near automobile\) ?: 12 images 100% are frog", said)
    assert "In no group: 8 images" in said
    assert "12 are of a kind" in said and "Broken, wherever they rank: 2 blurred." in said
    assert len(page.select("#kinds .sheet")[0].select("img")) == run_page.TYPICAL + 1
    assert "Trust in this ranking: fair: look twice." in words(page, "diagnostics")


def test_labels_in_the_tail_are_named(page, make_run):
    assert re.search(r"In the tail: frog \( ?\d+ of 10 images", words(page, "labels"))
    alone = make_run(60, change=lambda frame: frame.assign(label="only"))
    assert "No label lives in the tail" in words(read(alone), "labels")


HOSTILE = [
    "<img src=x onerror=alert(1)>.jpg",
    "</script><script>alert(2)</script>.jpg",
    "\"><svg onload='alert(3)'>.jpg",
    "<!--.jpg",
    "{{ 7*7 }}{% raw %}.jpg",
    "line\nbreak.jpg",
    "right\u202eto left.jpg",
    "תמונה.jpg",
    "lone\udc80surrogate.jpg",
    "a" * 4000 + ".jpg",
]


@pytest.mark.parametrize("where", ["file", "label", "reason", "copy", "record"])
def test_what_strangers_wrote_stays_text(make_run, where):
    """Each name is put where the file names, the labels, ... of a run come out."""
    safe = [name.encode("utf-8", "backslashreplace").decode() for name in HOSTILE]

    def change(frame):
        if where == "file":
            frame.loc[frame.index[: len(safe)], "rel_path"] = safe
        elif where == "label":
            frame.loc[frame.index[: len(safe)], "label"] = safe
        elif where == "reason":
            for i, name in enumerate(safe):
                frame = unscored(frame, slice(i, i + 1), name)
                frame.loc[frame.index[i], "rel_path"] = name
        elif where == "copy":
            frame.loc[frame.index[1 : len(safe)], "duplicate_of"] = safe[0]
            frame.loc[frame.index[: len(safe)], "rel_path"] = safe
        return frame

    record: dict[str, Any] = {}
    if where == "record":
        record = {
            "warnings": HOSTILE,
            "dataset": HOSTILE[1],
            "source": {"kind": "folder", "value": HOSTILE[0]},
            "perceptual": HOSTILE[2],
            "embedding": HOSTILE[0],
            "versions": {HOSTILE[0]: HOSTILE[1]},
            "settings": RECORD["settings"] | {"model": HOSTILE[1], HOSTILE[0]: HOSTILE[8]},
            "model": RECORD["model"] | {"name": HOSTILE[0], "trained_here": False},
        }
    run = make_run(60, change=change, **record)
    text = run_page.write_report(run).read_text("utf-8")
    allowed = {"html", "head", "meta", "title", "style", "body", "main", "section", "noscript"}
    allowed |= {"h1", "h2", "h3", "p", "b", "i", "bdi", "code", "pre", "small", "span", "div", "br"}
    allowed |= {
        "time",
        "dl",
        "dt",
        "dd",
        "ul",
        "li",
        "figure",
        "figcaption",
        "img",
        "canvas",
        "script",
    }
    allowed |= {"table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
    allowed |= {"svg", "rect", "line", "polyline"}
    seen = Tags()
    seen.feed(text)
    assert seen.tags <= allowed
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert seen.scripts == 2
    assert not any(opening in text for opening in ("<img src=x", "<svg onload", "<script>alert"))
    assert "\u202e" not in text
    assert len(text) < 1_000_000
    page = BeautifulSoup(text, "html.parser")
    if where == "file":
        assert HOSTILE[0] in {point[4] for point in points(page)["points"]}
        data = str(page.find("script", id="points").string)
        assert "<" not in data
    if where == "label":
        names = [cell.get_text() for cell in page.select("#labels tbody th")]
        assert {HOSTILE[0], r"line\nbreak.jpg", "תמונה.jpg"} <= set(names)


def test_a_browser_shows_a_hostile_name_and_does_nothing_else(make_run):
    """The rarest image is pointed at, in Chromium, where there is one."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")

    def change(frame):
        rarest = frame.index[frame["rarity"] == 1]
        frame.loc[rarest, ["rel_path", "label"]] = [HOSTILE[0], HOSTILE[1]]
        return frame

    page = run_page.write_report(make_run(60, change=change))
    happened: list[str] = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 400, "height": 800})
        tab.on("dialog", lambda dialog: (happened.append(dialog.message), dialog.dismiss()))
        tab.on("pageerror", lambda error: happened.append(str(error)))
        tab.on("console", lambda message: happened.append(message.text))
        tab.on("request", lambda request: happened.append(request.url[:500]))
        tab.goto(page.as_uri())
        x, y = tab.evaluate("at(map.points[0])")
        tab.locator("#map").hover(position={"x": x, "y": y})
        tip = tab.locator("#tip").inner_text()
        wide = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert tip.splitlines()[1:] == [HOSTILE[1], HOSTILE[0]]
    assert [h for h in happened if not h.startswith("data:")] == [page.as_uri()]
    assert wide == 400


class Tags(HTMLParser):
    """The elements and attributes that a browser would find."""

    def __init__(self):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        if tag != "title":
            self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.scripts += tag == "script"


def test_the_page_needs_nothing_from_outside(page):
    places = [
        element[name]
        for element in page.find_all(True)
        for name in ("src", "href", "srcset", "action", "data", "poster")
        if element.has_attr(name)
    ]
    assert places
    assert all(place.startswith("data:image/webp;base64,") for place in places)
    assert not re.search(r"(https?:)?//[a-z]|@import|url\((?!\"\$)", str(page.style))
    assert "http" not in page.find_all("script")[1].string
    assert all(uri.startswith("data:") for uri in points(page)["sheets"])


def test_the_page_forbids_itself_every_request_and_foreign_script(page):
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    script = page.find_all("script")[1].string
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_page_is_accessible(page):
    assert page.html["lang"] == "en"
    assert all(image["alt"] for image in page.find_all("img"))
    assert all(drawing.get("aria-label") for drawing in page.find_all(attrs={"role": "img"}))
    assert page.find("meta", {"name": "viewport"})
    assert "prefers-color-scheme: dark" in page.style.string
    ids = [element["id"] for element in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_bytes(make_run):
    run = make_run(60)

    def contents() -> dict[str, bytes]:
        page = run_page.write_report(run)
        files = [page, *sorted((run.path / "figures").iterdir())]
        return {file.name: file.read_bytes() for file in files}

    first = contents()
    assert set(first) == {
        *("report.html", "map.png", "histogram.png", "rarest.png", "commonest.png")
    }
    assert contents() == first


def test_a_large_run_gives_a_page_of_bounded_size(make_run):
    run = make_run(5000)
    page = run_page.write_report(run)
    assert page.stat().st_size < 4_000_000
    data = points(BeautifulSoup(page.read_text("utf-8"), "html.parser"))
    assert len(data["points"]) == 5000
    assert sum(len(point) > 3 for point in data["points"]) == data["hover"] == hover_map.HOVER
    assert all(len(point) > 3 for point in data["points"][: hover_map.HOVER // 2])


def test_photographs_are_not_all_decoded_again_for_the_map(make_run):
    def large(frame):
        return frame.assign(width=4000, height=5000, rel_path=frame["rel_path"] + ".png")

    data = points(read(make_run(60, change=large)))
    assert data["hover"] == hover_map.MEGAPIXELS // 20
    assert [len(point) > 3 for point in data["points"]] == [True] * 50 + [False] * 10


def test_pictures_of_noise_give_way_in_quality_not_in_size(monkeypatch):
    limit = 1_000_000
    monkeypatch.setattr(hover_map, "SPRITES", limit)
    noise = np.random.default_rng(0).integers(0, 255, (500, 64, 64, 3)).astype(np.uint8)
    assert sum(map(len, hover_map._sprite_sheets(list(noise), 64))) <= limit


def test_a_thumbnail_keeps_its_proportions_and_is_upright(tmp_path):
    picture = Image.new("RGB", (300, 100), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "sideways.jpg", exif=exif)
    rows = pd.DataFrame({"path": [str(tmp_path / "sideways.jpg")], "width": 100, "height": 300})
    [shown] = figures.thumbnails(rows, 90)
    assert shown is not None
    assert shown.shape == (90, 30, 3)
    assert figures.thumbnails(rows, 90, square=True)[0].shape == (90, 90, 3)


def test_a_thumbnail_of_a_dark_image_of_16_bits_shows_what_is_in_it(tmp_path):
    dark = np.zeros((40, 40), np.uint16)
    dark[10:30, 10:30] = 90
    Image.fromarray(dark).save(tmp_path / "dark.png")
    rows = pd.DataFrame({"path": [str(tmp_path / "dark.png")], "width": 40, "height": 40})
    of_set = Rendering(ranges={"uint16 grey": [(0.0, 65535.0)]})
    scored = decode.decode(str(tmp_path / "dark.png"), size=40, fit="pad", rendering=of_set)
    assert np.ptp(scored) < 5, "in its set it is black"
    [shown] = figures.thumbnails(rows, 40, rendering=of_set)
    assert shown is not None and np.ptp(shown) > 200


def test_a_file_that_hangs_the_decoder_has_no_thumbnail_and_the_others_have(tmp_path, monkeypatch):
    decode_pool._end_all()
    monkeypatch.setenv("MINCURATE_DECODE_SECONDS", "0.4")
    monkeypatch.setattr(decode_pool, "SECONDS", 0.4)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png")
    Image.new("L", (13_300, 13_300)).save(tmp_path / "slow.png", compress_level=1)
    paths = [str(tmp_path / name) for name in ("a.png", "slow.png", "gone.png", "a.png")]
    rows = pd.DataFrame({"path": paths, "width": 9, "height": 9})
    shown = figures.thumbnails(rows, 90)
    assert [picture is not None for picture in shown] == [True, False, False, True]


def test_short_keeps_both_ends():
    assert texts.short("abc") == "abc"
    assert texts.short("a" * 300 + ".jpg", 30) == "a" * 10 + "…" + "a" * 15 + ".jpg"
    assert len(texts.short("x" * 300, 160)) == 160
