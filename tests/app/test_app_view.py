"""What the App shows of a run with made-up scores: order, tiles, colours and the map."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mincurate.dataset import writer
from mincurate.report.figures import class_colors
from mincurate.runs.store import Run

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.app,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.usefixtures("database"),
]
CLASSES = 5
UNSCORABLE = 2


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    """A finished run over `shapes` in which the last file is the rarest; two have no score."""
    paths = sorted(str(path) for path in shapes.rglob("*.png"))
    score = np.linspace(0.1, 0.9, len(paths))
    score[:UNSCORABLE] = np.nan
    ok = ~np.isnan(score)
    rarity = np.where(ok, (score - np.nanmin(score)) / np.ptp(score[ok]), np.nan)
    whole = pd.array(np.where(ok, np.minimum(rarity * CLASSES, CLASSES - 1) // 1, np.nan), "Int64")
    frame = pd.DataFrame(
        {
            "path": paths, "rel_path": paths, "content_hash": paths, "duplicate_of": None,
            "label": [path.split("/")[-2] for path in paths], "minority_score": score,
            "minority_score_se": score / 20, "rarity": rarity, "rarity_class": whole,
            "neighbor_distance": score, "minority_score_calibrated": rarity, "complexity": score,
            "map_x": rarity, "map_y": rarity**2, "status": np.where(ok, "ok", "unscorable"),
            "reason": np.where(ok, None, "not an image"),
        }
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("made-up")
    frame.to_parquet(folder / "scores.parquet")
    record = {
        "key": "mincurate_1", "source": {"kind": "folder", "value": str(shapes)}, "settings": {},
        "fingerprint": "", "sigma": 0.1, "n_draws": 2, "num_classes": CLASSES, "seed": 0,
        "class_edges": [], "perceptual": "unet", "embedding": "unet", "warnings": [],
        "versions": {}, "model": {"name": "made up", "hash": ""},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    writer.write_run(Run(folder), "app view (made up)")
    return Run(folder)


@pytest.fixture
def launched(run):
    """The address that ``mincurate launch`` prints; Ctrl-C afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", "from mincurate.cli import main; main()", "launch",
               "app view (made up)", "--port", port, "--remote", "--no-plugin"]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    while not (address := re.search(r"http://\S+\n", printed)):
        line = server.stdout.readline()
        assert line, f"the App did not start: {printed}"
        printed += line
    yield address.group().strip()
    server.send_signal(signal.SIGINT)
    printed += server.communicate(timeout=180)[0]
    assert server.returncode == 0 and "Closed." in printed
    assert "config option" not in printed, "FiftyOne's own log lines"


def test_the_rarest_come_first_with_their_score_and_the_map_has_the_colours(run, launched):
    from playwright.sync_api import expect, sync_playwright

    frame = run.frame()
    scored = frame[frame["status"] == "ok"].sort_values("rarity", ascending=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.add_init_script("window.IS_PLAYWRIGHT = true")  # FiftyOne then shows no advertisement
        page.goto(launched, wait_until="load")
        tiles = page.locator("[data-cy=looker]")
        expect(tiles.first).to_contain_text("0.9", timeout=60_000)
        expect(page.get_by_text(f"{len(scored)} samples")).to_be_visible()
        # The class, the score and the label, without a space between.
        for i in range(10):
            expect(tiles.nth(i)).to_contain_text(re.compile(r"\d0\.\d+"), timeout=30_000)
        shown = [re.match(r"\d0\.\d+", tile).group() for tile in tiles.all_inner_texts()[:10]]
        expected = [f"{CLASSES - 1}{round(value, 3)}" for value in scored["minority_score"][:10]]
        assert shown == expected
        page.get_by_text("minority_umap").first.click(timeout=30_000)
        expect(page.get_by_text(f"{len(scored)} points")).to_be_visible(timeout=30_000)
        page.locator(".emb-colorby").first.click()
        page.keyboard.type("rarity_class")
        page.keyboard.press("Enter")
        entries = page.locator(".emb-legend button")
        expect(entries).to_have_count(CLASSES, timeout=30_000)
        drawn = page.locator(".emb-legend").inner_html()
        browser.close()
    for color in class_colors(CLASSES):
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert f"rgb({red}, {green}, {blue})" in drawn
