"""The whole way in a real App: a bar of the panel, the grid, three images, more like these.

Pictures are saved where ``MINCURATE_SCREENSHOTS`` says.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import fiftyone as fo
import pytest

import mincurate
from mincurate import plugins

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
NAME, CLASSES, WANTED = "panel-app", 5, 6

pytestmark = [
    pytest.mark.app,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.usefixtures("database"),
    pytest.mark.timeout(1200),
]
SERVE = """
import sys
import fiftyone as fo
def space(panel):
    return fo.Space(children=[panel], active_child=panel.component_id)
beside = [space(fo.Panel(type="Samples", pinned=True)), space(fo.Panel(type="long_tail"))]
spaces = fo.Space(children=beside, orientation="horizontal", sizes=[0.45, 0.55])
view = fo.load_dataset(sys.argv[1]).load_saved_view("most-minority")
session = fo.launch_app(view, spaces=spaces, port=int(sys.argv[2]), remote=True, auto=False)
print("up", flush=True)
session.wait(-1)
"""


@pytest.fixture
def address(shapes, tmp_path, monkeypatch):
    """An App with the panel beside the grid of a scored dataset."""
    folder = tmp_path / "plugins"
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(folder))
    monkeypatch.setattr(fo.config, "plugins_dir", str(folder))
    plugins.install()
    mincurate.score(shapes, dataset=NAME, train_steps=20, n_draws=2, num_classes=CLASSES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, NAME, str(port)], stdout=subprocess.PIPE, text=True
    )
    assert any(line.strip() == "up" for line in server.stdout), "the App did not start"
    yield f"http://localhost:{port}/datasets/{NAME}?view=most-minority"
    server.terminate()
    server.wait(30)


@pytest.fixture
def shots(tmp_path):
    folder = Path(os.environ.get("MINCURATE_SCREENSHOTS", tmp_path / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_from_a_bar_to_generated_images(address, shots):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.add_init_script("window.IS_PLAYWRIGHT = true")  # FiftyOne then shows no advertisement
        page.goto(address, wait_until="load")

        # The panel opens with histogram and map.
        tiles = page.locator("[data-cy=looker]")
        bars = page.locator(".barlayer .trace").nth(CLASSES - 1).locator("path")
        expect(bars.first).to_be_visible(timeout=60_000)
        expect(tiles.first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("0 of 6 images looked at")).to_be_visible()
        page.wait_for_timeout(2000)
        page.screenshot(path=shots / "panel-ranking.png")

        # A bar: its class is in the grid.
        box = bars.first.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
        expect(page.get_by_text(f"class {CLASSES - 1}, rarest first")).to_be_visible(timeout=20_000)
        expect(page.get_by_text("12 samples")).to_be_visible(timeout=30_000)
        page.wait_for_timeout(3000)
        page.screenshot(path=shots / "panel-class.png")

        # Three images: the buttons wake up, and one tab shows what the score sees in the last.
        for i in range(3):
            tiles.nth(i).hover()
            corner = tiles.nth(i).bounding_box()
            page.mouse.click(
                corner["x"] + 19, corner["y"] + 19
            )  # the check box that hovering shows
        expect(page.get_by_text("3 selected").last).to_be_visible(timeout=20_000)
        page.get_by_role("button", name="Image", exact=True).click()
        expect(page.get_by_alt_text("where they differ")).to_be_visible(timeout=120_000)
        page.wait_for_timeout(1000)
        page.screenshot(path=shots / "panel-image.png")

        # More like these, with the shortest training there is.
        page.get_by_role("button", name="More like these…").click()
        form = page.get_by_role("dialog")
        expect(form.get_by_text("How many")).to_be_visible(timeout=30_000)
        form.get_by_label("More options").click()
        for label, number in (
            ("How many", WANTED),
            ("Steps", 3),
            ("Training, at most minutes", 0.1),
            ("Classifier, at most minutes", 0.1),
        ):
            field = form.get_by_text(label, exact=True).locator(
                "xpath=following::input[@type='number'][1]"
            )
            field.fill(str(number))
        page.wait_for_timeout(2000)
        page.screenshot(path=shots / "panel-more-like-these.png")
        form.get_by_role("button", name="Execute").click()

        dataset = fo.load_dataset(NAME)
        waited = time.monotonic()
        while len(dataset.match_tags("synthetic")) < WANTED:
            assert time.monotonic() - waited < 300, "no generated image came"
            time.sleep(2)
            page.wait_for_timeout(100)

        # They are in the panel, and in the grid.
        page.wait_for_timeout(3000)
        page.get_by_text("Long tail", exact=True).first.click()
        page.get_by_role("button", name="Generated", exact=True).click()
        expect(page.get_by_text(f"{WANTED} images,")).to_be_visible(timeout=30_000)
        page.get_by_role("button", name="Show in the grid").click()
        expect(page.get_by_text(f"{WANTED} samples")).to_be_visible(timeout=30_000)
        page.wait_for_timeout(3000)
        page.screenshot(path=shots / "panel-generated.png")
        browser.close()
