"""Takes the pictures of the walk-through, from what retell.sh has made.

    python pictures.py closet ../../docs/images/walkthrough [--app]

The mined photographs, recall of the classifiers, and variants; with ``--app`` also the App in
Chromium (``CHROMIUM``, or on the path), which needs the test extra (playwright).
"""

import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import fiftyone as fo
import pandas as pd
from PIL import Image, ImageDraw, ImageOps

import mincurate

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PORT = "5199"
QUALITY = 70
SIDE, SHOWN = 92, 12
"""Side of a photograph in pixels, and how many of each label are shown."""
KEPT, DROPPED = "#2e9d4d", "#d23b3b"


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    save(mined(fo.load_dataset(name)), folder / "3-mined.jpg")
    save(Image.open("recall.png"), folder / "4-recall.jpg")
    save(variants(), folder / "5-variants.jpg")
    if "--app" in sys.argv:
        app(name, folder)


def mined(dataset: fo.Dataset) -> Image.Image:
    """The first mined photographs of every label, framed by the answer of the review."""
    proposed = dataset.match_tags("mined").sort_by("mined_likeness", reverse=True)
    labels = sorted(proposed.distinct("proposed_label"))
    sheet = Image.new("RGB", (110 + SHOWN * (SIDE + 8), len(labels) * (SIDE + 8)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(labels):
        top = row * (SIDE + 8)
        draw.text((8, top + SIDE // 2 - 6), label, fill="black", font_size=16)
        samples = proposed.match(fo.ViewField("proposed_label") == label).limit(SHOWN)
        for column, sample in enumerate(samples):
            own = sample.ground_truth.label if sample.ground_truth else label
            kept = "rare-keep" in sample.tags and own == label
            photograph = ImageOps.fit(Image.open(sample.filepath).convert("RGB"), (SIDE - 8,) * 2)
            framed = ImageOps.expand(photograph, 4, KEPT if kept else DROPPED)
            sheet.paste(framed, (110 + column * (SIDE + 8), top + 4))
    return sheet


def variants() -> Image.Image:
    """Photographs as the generator sees them, and below them what the last generations made."""
    runs = sorted(mincurate.find_run().path.parent.glob("*/synthetic.csv"), key=os.path.getmtime)
    weaker, stronger = (pd.read_csv(path) for path in reversed(runs[-2:]))
    sheet = Image.new("RGB", (SHOWN * 84, 3 * 84), "white")
    for column, start in enumerate(weaker["start"].head(SHOWN)):
        files = [t.loc[t["start"] == start, "path"].iloc[0] for t in (weaker, stronger)]
        photograph = ImageOps.fit(Image.open(start).convert("RGB"), (32, 32))
        for row, picture in enumerate((photograph, *map(Image.open, files))):
            sheet.paste(picture.resize((80, 80), Image.Resampling.NEAREST), (column * 84, row * 84))
    return sheet


def app(name: str, folder: Path) -> None:
    """The ranked images beside two tabs of the panel."""
    from playwright.sync_api import expect, sync_playwright

    server = subprocess.Popen(
        ["mincurate", "launch", name, "--port", PORT, "--remote"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = next(
            found.group() for line in server.stdout if (found := re.search(r"http://\S+", line))
        )
        with sync_playwright() as playwright:
            path = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1500, "height": 900})
            page.set_default_timeout(180_000)
            page.add_init_script("window.IS_PLAYWRIGHT = true")  # no advertisement of FiftyOne's
            page.goto(address, wait_until="load")
            expect(page.locator("[data-cy=looker]").first).to_be_visible()
            expect(page.get_by_text("images looked at").first).to_be_visible()
            for tab, file in (("Labels", "1-rarest"), ("Kinds of rare", "2-kinds")):
                page.get_by_role("button", name=tab, exact=True).click()
                page.wait_for_timeout(8000)
                save(Image.open(BytesIO(page.screenshot())), folder / f"{file}.jpg")
            browser.close()
    finally:
        server.send_signal(2)
        server.wait(120)


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as a JPEG."""
    picture.convert("RGB").save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
