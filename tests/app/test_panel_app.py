"""The whole way in a real App: a bar of the panel, the grid, three images, more like these.

Pictures are saved where ``MINCURATE_SCREENSHOTS`` says.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

import mincurate
from mincurate.dataset import plugin, worker

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
    pytest.mark.timeout(1200),
]
SERVE = """
import sys
import fiftyone as fo
def space(panel):
    return fo.Space(children=[panel], active_child=panel.component_id)
beside = [space(fo.Panel(type="Samples", pinned=True)), space(fo.Panel(type="long_tail"))]
spaces = fo.Space(children=beside, orientation="horizontal", sizes=[0.45, 0.55])
view = fo.load_dataset(sys.argv[1]).load_saved_view("rarest-first")
session = fo.launch_app(view, spaces=spaces, port=int(sys.argv[2]), remote=True, auto=False)
print("up", flush=True)
session.wait(-1)
"""


@pytest.fixture(scope="module")
def address(database, shapes, tmp_path_factory):
    """An App with the panel beside the grid of a scored dataset."""
    folder = tmp_path_factory.mktemp("plugins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("FIFTYONE_PLUGINS_DIR", str(folder))
        patch.setattr(fo.config, "plugins_dir", str(folder))
        plugin.install()
        mincurate.score(shapes, dataset=NAME, train_steps=20, n_draws=2, num_classes=CLASSES)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, NAME, str(port)], stdout=subprocess.PIPE, text=True
        )
        assert any(line.strip() == "up" for line in server.stdout), "the App did not start"
        yield f"http://localhost:{port}/datasets/{NAME}?view=rarest-first"
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = Path(os.environ.get("MINCURATE_SCREENSHOTS", tmp_path_factory.mktemp("shots")))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(address):
    """The App in a browser, with the histogram and the grid drawn."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.add_init_script("window.IS_PLAYWRIGHT = true")  # FiftyOne then shows no advertisement
        page.goto(address, wait_until="load")
        expect(bars_of(page, CLASSES - 1).first).to_be_visible(timeout=60_000)
        expect(page.locator("[data-cy=looker]").first).to_be_visible(timeout=60_000)
        page.wait_for_timeout(2000)
        yield page
        browser.close()


def bars_of(page, number):
    """The bars of a class in the histogram."""
    return page.locator(".barlayer .trace").nth(number).locator("path")


def test_dragging_over_bars_shows_their_classes(page, shots):
    from playwright.sync_api import expect

    # A bar may be of several classes, one above the other: of these two at most.
    first = bars_of(page, CLASSES - 2).last.bounding_box()
    last = bars_of(page, CLASSES - 1).last.bounding_box()
    height = first["y"] + first["height"] / 2
    page.mouse.move(first["x"] + 1, height)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] - 1, height, steps=8)
    page.mouse.up()
    words = f"24 images: classes {CLASSES - 2} to {CLASSES - 1}, rarest first"
    expect(page.get_by_text(words)).to_be_visible(timeout=20_000)
    expect(page.get_by_text("24 samples")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(2000)
    page.screenshot(path=shots / "panel-drag.png")


def test_long_work_says_how_far_it_is_leaves_the_app_free_and_stops(page, shots):
    from playwright.sync_api import expect

    page.keyboard.press("`")
    page.keyboard.type("mincurate: score")
    page.get_by_text("mincurate: score", exact=True).first.click()
    form = page.get_by_role("dialog")
    expect(form.get_by_text("60 images, 6 draws each")).to_be_visible(timeout=30_000)
    page.screenshot(path=shots / "work-form.png")
    form.get_by_role("button", name="Execute").click()

    # It trains for ten minutes, in a process of its own: the panel Work counts steps.
    steps = page.get_by_text(re.compile(r"Training: [\d,]+ of [\d,]+ images"))
    expect(steps).to_be_visible(timeout=120_000)
    before = steps.inner_text()
    page.screenshot(path=shots / "work-running.png")

    # Meanwhile the App answers.
    page.get_by_text("Long tail", exact=True).first.click()
    page.get_by_role("button", name="Labels", exact=True).click()
    expect(page.get_by_text("The rarest images of each label")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Ranking", exact=True).click()  # as the next test expects it
    page.get_by_text("mincurate: work", exact=True).first.click()
    expect(steps).not_to_have_text(before, timeout=30_000)

    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped; finished work is kept").first).to_be_visible(timeout=60_000)
    page.wait_for_timeout(1000)
    page.screenshot(path=shots / "work-stopped.png")
    key = max(str(op.id) for op in worker.service().list_operations())
    waited = time.monotonic()
    while subprocess.run(["pgrep", "-f", f"operation {key}"], capture_output=True).stdout:
        assert time.monotonic() - waited < 60, "the process of the work did not end"
        page.wait_for_timeout(200)
    assert len(fo.load_dataset(NAME).exists("minority_score")) == 60


def test_from_a_bar_to_generated_images(page, shots):
    from playwright.sync_api import expect

    tiles, bars = page.locator("[data-cy=looker]"), bars_of(page, CLASSES - 1)
    rarity = np.array(fo.load_dataset(NAME).exists("rarity").values("rarity"))
    tail = int((rarity >= np.sort(rarity)[-6]).sum())  # a tenth of 60, and what ties with its last
    expect(page.get_by_text(f"0 of {tail} images looked at")).to_be_visible()
    page.screenshot(path=shots / "panel-ranking.png")

    # A bar: its class is in the grid.
    box = bars.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
    expect(page.get_by_text(f"class {CLASSES - 1}, rarest first")).to_be_visible(timeout=20_000)
    members = fo.load_dataset(NAME).match(fo.ViewField("rarity_class") == CLASSES - 1)
    expect(page.get_by_text(f"{len(members)} samples")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(3000)
    page.screenshot(path=shots / "panel-class.png")

    # Three images: the buttons wake up, and one tab shows what the score sees in the last.
    for i in range(3):
        tiles.nth(i).hover()
        corner = tiles.nth(i).bounding_box()
        page.mouse.click(corner["x"] + 19, corner["y"] + 19)  # the check box that hovering shows
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
        ("Sampling steps", 3),
        ("Training, minutes at most", 0.1),
        ("Classifier, minutes at most", 0.1),
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
