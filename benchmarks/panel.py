"""How fast the panel “Long tail” is on 20,000 samples: opening it, and what a click takes.

    python benchmarks/panel.py [--images 20000] [--browser] [--json FILE]

The run is made up (scores, labels, vectors of 512 numbers, a map), with as many real files, in a
database of its own. Every event is timed as FiftyOne's server executes it, in a new process: the
first opening reads the table of the run. Not timed are the tabs Image, which waits for a model to
be loaded and run, and Generated: the made-up run has neither a model nor generated images.

``--browser`` opens the App in Chromium and times from the click until the histogram is there; after
a click, until the panel says what the grid shows, and until the grid itself counts other samples.
Beside it stands the largest request that the page sent meanwhile. The App loads Plotly when a page
first draws a figure (mincurate's plugin does so some seconds after a page is opened), and takes its
time to change the grid; a panel of a single bar, opened in another browser without mincurate, whose
click does no more than set the same view, says what that alone takes.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NAME, CLASSES, LABELS, WIDTH = "panel-benchmark", 10, 12, 512
LIMITS = {"open": 3.0, "update": 1.0}
ONE_BAR = """
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone import ViewField as F


class OneBar(foo.Panel):
    @property
    def config(self):
        return foo.PanelConfig(name="one_bar", label="One bar")

    def on_load(self, ctx):
        ctx.panel.set_data({"bar": [{"type": "bar", "x": [0], "y": [1]}]})

    def on_bar(self, ctx):
        view = ctx.dataset.match(F("rarity_class") == 9)
        ctx.ops.set_view(view.sort_by("rarity", reverse=True))

    def render(self, ctx):
        panel = types.Object()
        panel.plot("bar", layout={}, on_click=self.on_bar)
        return types.Property(panel)


def register(plugin):
    plugin.register(OneBar)
"""
"""The least that a panel with a figure can be; the view is that of the rarest class."""


def make(folder: Path, n: int) -> None:
    """A finished run of ``n`` images in ``folder``, and its dataset."""
    import pandas as pd
    from PIL import Image

    from mincurate.dataset import writer
    from mincurate.ranking import classes as ordinal
    from mincurate.runs.store import Run

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, WIDTH))
    group = rng.integers(0, len(centres), n)
    vectors = centres[group] + 0.7 * rng.normal(size=(n, WIDTH))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    score = rng.gamma(3, 0.3, n) + 0.1 * (group % 5)
    images = folder / "images"
    paths = []
    for i in range(n):
        place = images / f"label {group[i] % LABELS}"
        if i < LABELS * 40:
            place.mkdir(parents=True, exist_ok=True)
        paths.append(place / f"{i:05d}.jpg")
        color = tuple(int(c) for c in rng.integers(0, 255, 3))
        Image.new("RGB", (96, 96), color).save(paths[-1], quality=60)
    hashes = [f"{i:032x}" for i in range(n)]
    frame = pd.DataFrame(
        {
            "path": [str(p) for p in paths],
            "rel_path": [str(p.relative_to(images)) for p in paths],
            "content_hash": hashes,
            "duplicate_of": pd.Series([None] * n, dtype="string"),
            "label": [p.parent.name for p in paths],
            "minority_score": score,
            "minority_score_se": score / 20,
            "rarity": ordinal.percentile(score),
            "rarity_class": pd.array(ordinal.ordinal_classes(score, CLASSES), "Int64"),
            "neighbor_distance": score,
            "minority_score_calibrated": ordinal.percentile(score),
            "complexity": rng.random(n),
            "width": pd.array([96] * n, "Int64"),
            "height": pd.array([96] * n, "Int64"),
            "map_x": centres[group, 0] + 0.3 * rng.normal(size=n),
            "map_y": centres[group, 1] + 0.3 * rng.normal(size=n),
            "status": "ok",
            "reason": pd.Series([None] * n, dtype="string"),
            "minority_score_draws": list(np.stack([score, score], 1)),
        }
    )
    run = folder / "home" / "runs" / "mincurate_1"
    run.mkdir(parents=True)
    frame.to_parquet(run / "scores.parquet")
    np.save(run / "embeddings.npy", vectors)
    frame[["content_hash"]].to_parquet(run / "embeddings.parquet")
    record = {
        "key": "mincurate_1", "source": {"kind": "folder", "value": str(images)},
        "settings": {"rank_by": "minority", "n_draws": 2}, "fingerprint": "", "sigma": 0.1,
        "n_draws": 2, "num_classes": CLASSES, "seed": 0, "class_edges": [], "perceptual": "unet",
        "embedding": "unet", "warnings": [], "versions": {}, "finished": "2026-01-01T00:00:00Z",
        "created": "2026-01-01T00:00:00Z", "model": {"name": "made up", "hash": ""},
        "map_method": "umap", "diagnostics": {}, "counts": {"images": n},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(record))
    started = time.monotonic()
    writer.write_run(Run(run), NAME)
    print(f"made up {n:,} images, written in {time.monotonic() - started:.0f} s", file=sys.stderr)


def events() -> list[dict[str, object]]:
    """Time every event of the panel in this process, as the App's server executes it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import fiftyone as fo
    import fiftyone.operators as foo

    dataset = fo.load_dataset(NAME)
    dataset.count()  # the App has spoken to the database before a panel is opened
    foo.get_operator("@mincurate/mincurate/long_tail")  # and knows its plugins
    from panel_client import Client

    rows: list[dict[str, object]] = []

    def row(name: str, kind: str, panel: Client) -> None:
        seconds = round(panel.seconds, 3)
        rows.append(
            {"event": name, "kind": kind, "s": seconds, "sent": panel.sent, "got": panel.received}
        )

    panel = Client(dataset)
    row("open (first: the table is read)", "open", panel)
    panel = Client(dataset)
    row("open again", "open", panel)
    chosen = dataset.limit(3).values("id")
    circled = [{"trace_idx": 9, "idx": i} for i in range(200)]
    for name, method, more in (
        ("click a bar", "on_bar", {"trace_idx": 9}),
        ("drag over bars", "on_bars", {"data": [{"trace_idx": c} for c in range(3, 8)]}),
        ("tab Map", "on_tab", {"tab": "map"}),
        ("circle 200 points", "on_dots", {"data": circled}),
        ("all, rarest first", "on_all", {}),
        ("tab Labels", "on_tab", {"tab": "labels"}),
        ("click a cell", "on_cell", {"x": 9, "y": 0}),
        ("next labels", "on_page", {"step": 1}),
        ("tab Kinds (first)", "on_tab", {"tab": "kinds"}),
        ("next kinds", "on_page", {"step": 1}),
        ("show a kind", "on_kind", {"kind": 0}),
        ("tab Run", "on_tab", {"tab": "run"}),
        ("tab Ranking", "on_tab", {"tab": "ranking"}),
        ("select three", "on_change_selected", {"selected": chosen}),
        ("say rare-keep of them", "on_verdict", {"selected": chosen, "tag": "rare-keep"}),
        ("not looked at yet", "on_unseen", {}),
    ):
        panel(method, **more)
        row(name, "update", panel)
    return rows


def browser(port: int, panel: str, classes: int) -> list[dict[str, object]]:
    """A panel in a new Chromium, from the click to what one sees."""
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    rows: list[dict[str, object]] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        page = chromium.new_page(viewport={"width": 1500, "height": 950})
        page.add_init_script("window.IS_PLAYWRIGHT = true")
        sent: list[int] = []
        page.on("request", lambda request: sent.append(len(request.post_data_buffer or b"")))
        page.goto(f"http://localhost:{port}/datasets/{NAME}", wait_until="load")
        for turn in ("first", "again") if classes > 1 else ("first",):
            page.wait_for_selector("[data-cy=looker]", timeout=120_000)
            page.wait_for_timeout(5000)
            page.locator("[data-cy=new-panel-btn]").first.click()
            entry = page.get_by_text(panel, exact=True).first
            entry.wait_for()
            sent.clear()
            started = time.monotonic()
            entry.click()
            bar = page.locator(".barlayer .trace").nth(classes - 1).locator("path").first
            bar.wait_for(timeout=60_000)
            kinds = ("open", "update") if classes > 1 else ("control", "control")
            rows.append(seen(f"{panel}: open ({turn})", kinds[0], started, sent))
            page.wait_for_timeout(5000)
            box = bar.bounding_box()
            assert box is not None
            before = samples(page)
            sent.clear()
            started = time.monotonic()
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
            if classes > 1:
                page.get_by_text(f"class {classes - 1}, rarest first").wait_for(timeout=60_000)
                rows.append(
                    seen(f"{panel}: click a bar, until it says so", kinds[1], started, sent)
                )
            wait_for_others(page, before)
            rows.append(seen(f"{panel}: click a bar, grid too", "grid", started, sent))
            if classes > 1:
                page.wait_for_timeout(5000)  # one click at a time
                before = samples(page)
                sent.clear()
                started = time.monotonic()
                page.get_by_role("button", name="All, rarest first").click()
                page.get_by_text("every scored image, rarest first").wait_for(timeout=60_000)
                rows.append(seen(f"{panel}: all, until it says so", kinds[1], started, sent))
                wait_for_others(page, before)
                rows.append(seen(f"{panel}: all, grid too", "grid", started, sent))
                # The middle button closes it; a page that is loaded anew has it open.
                tab = page.locator("[data-cy^=panel-tab-]").filter(has_text=panel)
                tab.click(button="middle")
        chromium.close()
    return rows


def samples(page: Any) -> int | None:
    """How many samples the grid says that it has; ``None`` while it counts."""
    counts = page.locator("[data-cy=entry-counts]")
    text = counts.first.inner_text() if counts.count() else ""
    match = re.search(r"([\d,]+) samples?", text)
    return int(match.group(1).replace(",", "")) if match else None


def wait_for_others(page: Any, before: int | None) -> None:
    """Wait until the grid says that it has another number of samples."""
    started = time.monotonic()
    while samples(page) in (before, None):
        assert time.monotonic() - started < 60, "the grid did not change"
        page.wait_for_timeout(20)


def seen(event: str, kind: str, started: float, sent: list[int]) -> dict[str, object]:
    """A row of the table."""
    seconds = round(time.monotonic() - started, 2)
    return {"event": event, "kind": kind, "s": seconds, "sent": max(sent, default=0)}


def show(where: str, rows: list[dict[str, object]]) -> None:
    """A table, with the load it was measured under."""
    print(f"{where}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for line in rows:
        late = float(str(line["s"])) > LIMITS.get(str(line["kind"]), np.inf)
        sizes = f"{line['sent']:9,} B sent" + (f" {line['got']:9,} B got" if "got" in line else "")
        print(f"  {line['event']:46}{line['s']:7.2f} s {sizes}{'  TOO SLOW' if late else ''}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--step", choices=["make", "events", "serve", "drop"], help=argparse.SUPPRESS
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step == "make":
        make(asked.folder, asked.images)
    elif asked.step == "events":
        print(json.dumps(events()))
    elif asked.step == "serve":
        import fiftyone as fo

        session = fo.launch_app(fo.load_dataset(NAME), port=5287, remote=True, auto=False)
        print("up", flush=True)
        session.wait(-1)
    elif asked.step == "drop":
        import fiftyone as fo

        fo.delete_dataset(NAME)
    else:
        whole(asked)


def whole(asked: argparse.Namespace) -> None:
    """Every step in a process of its own, and the table."""
    folder = Path(tempfile.mkdtemp(prefix="mincurate-panel-"))
    os.environ |= {
        "MINCURATE_HOME": str(folder / "home"),
        "FIFTYONE_DATABASE_DIR": str(folder / "db"),
        # FiftyOne takes a mongod that runs already, whatever its folder: the name keeps apart.
        "FIFTYONE_DATABASE_NAME": folder.name,
        "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),
        "FIFTYONE_PLUGINS_CACHE_ENABLED": "true",  # as `mincurate launch` has it
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_LOGGING_LEVEL": "ERROR",
    }
    command = [sys.executable, __file__, "--folder", str(folder), "--images", str(asked.images)]
    try:
        (folder / "plugins").mkdir()
        (folder / "plugins" / "mincurate").symlink_to(
            Path(__file__).resolve().parents[1] / "plugins" / "mincurate"
        )
        # Without mincurate's plugin beside it, which loads Plotly before it is needed.
        control = folder / "control" / "one_bar"
        control.mkdir(parents=True)
        (control / "__init__.py").write_text(ONE_BAR)
        (control / "fiftyone.yml").write_text(
            "name: '@mincurate/one_bar'\nversion: 1.0.0\npanels:\n  - one_bar\n"
        )
        subprocess.run([*command, "--step", "make"], check=True)
        done = subprocess.run(
            [*command, "--step", "events"], check=True, capture_output=True, text=True
        )
        result = {"server": json.loads(done.stdout.splitlines()[-1])}
        show("server", result["server"])
        if asked.browser:
            result["browser"] = []
            for panel, classes, plugins in (
                ("One bar", 1, "control"),
                ("Long tail", CLASSES, "plugins"),
            ):
                app = subprocess.Popen(
                    [*command, "--step", "serve"],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "FIFTYONE_PLUGINS_DIR": str(folder / plugins)},
                )
                try:
                    assert any(line.strip() == "up" for line in app.stdout or ()), "no App"
                    result["browser"] += browser(5287, panel, classes)
                finally:
                    app.terminate()
                    app.wait(30)
            show("browser", result["browser"])
    finally:
        subprocess.run([*command, "--step", "drop"], check=False)
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
