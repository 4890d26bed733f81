"""Takes the pictures of the walk-through: the App in Chromium, and the page of the evaluation.

    python pictures.py closet ../../docs/images/walkthrough

Needs what retell.sh has made, the test extra (playwright) and a Chromium (``CHROMIUM``, or on the
path).
"""

import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

import mincurate

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PORT = "5199"
QUALITY = 82


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    save(Path("recall.png").read_bytes(), folder / "5-recall.jpg")
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
            page = browser.new_page(viewport={"width": 1500, "height": 950})
            page.set_default_timeout(180_000)
            page.add_init_script("window.IS_PLAYWRIGHT = true")  # no advertisement of FiftyOne's
            evaluation(page, folder)
            app(page, address, folder)
            browser.close()
    finally:
        server.send_signal(2)
        server.wait(120)


def evaluation(page: Page, folder: Path) -> None:
    """What the trial of classifiers says, from the page of the last generation."""
    home = mincurate.find_run().path.parent
    last = max(home.glob("*/evaluation.html"), key=lambda path: path.stat().st_mtime)
    page.goto(last.as_uri())
    save(page.locator("#grids").screenshot(), folder / "6-generated.jpg")
    page.locator("#downstream").scroll_into_view_if_needed()
    save(page.screenshot(), folder / "7-verdict.jpg")


def app(page: Page, address: str, folder: Path) -> None:
    """The ranked images, a page of the review, and what was mined."""
    opened(page, address)
    tab(page, "Labels")
    picture(page, folder / "1-rarest.jpg")
    tab(page, "Kinds of rare")
    picture(page, folder / "2-kinds.jpg")
    tab(page, "Review")
    picture(page, folder / "3-review.jpg")
    opened(page, address.replace("view=rarest-first", "view=mined"))
    picture(page, folder / "4-mined.jpg")


def opened(page: Page, address: str) -> None:
    """Wait until the images and the panel are there."""
    page.goto(address, wait_until="load")
    expect(page.locator("[data-cy=looker]").first).to_be_visible(timeout=180_000)
    expect(page.get_by_text("images looked at").first).to_be_visible(timeout=180_000)


def tab(page: Page, title: str) -> None:
    """Open a tab of the panel Long tail."""
    page.get_by_role("button", name=title, exact=True).click()


def picture(page: Page, path: Path) -> None:
    """What is to be seen, once it is drawn."""
    page.wait_for_timeout(8000)
    save(page.screenshot(), path)


def save(png: bytes, path: Path) -> None:
    """Write a screenshot as a JPEG."""
    Image.open(BytesIO(png)).convert("RGB").save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
