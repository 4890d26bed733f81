"""Takes the pictures of the walk-through: the App in Chromium, as `mincurate launch` opens it.

    python pictures.py digits ../../docs/images/walkthrough

Needs the dataset scored, the test extra (playwright) and a Chromium (``CHROMIUM``, or on the path).
Every click is one that docs/guide/walkthrough.md asks for.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PORT = "5199"


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
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
            page.set_default_timeout(120_000)
            page.add_init_script("window.IS_PLAYWRIGHT = true")  # no advertisement of FiftyOne's
            page.goto(address, wait_until="load")
            walk(page, folder)
            browser.close()
    finally:
        server.send_signal(2)
        server.wait(60)


def walk(page: Page, folder: Path) -> None:
    """The steps of the walk-through, with a picture after each."""

    def picture(step: str) -> None:
        page.wait_for_timeout(4000)
        page.screenshot(path=folder / f"{step}.png")

    expect(page.locator("[data-cy=looker]").first).to_be_visible(timeout=120_000)
    expect(page.get_by_text("images looked at").first).to_be_visible(timeout=120_000)
    picture("1-ranked")
    tab(page, "Kinds of rare")
    expect(page.get_by_role("button", name="Select all").first).to_be_visible(timeout=60_000)
    picture("2-kinds")
    tab(page, "Labels")
    picture("3-labels")
    page.get_by_role("button", name="All, rarest first").click()
    page.wait_for_timeout(4000)
    for i in range(3):
        tick(page, i)
    expect(page.get_by_text("3 selected").last).to_be_visible(timeout=30_000)
    tab(page, "Image")
    expect(page.get_by_alt_text("where they differ")).to_be_visible(timeout=120_000)
    picture("4-image")
    page.get_by_role("button", name="More like these…").click()
    expect(page.get_by_role("dialog").get_by_text("How many")).to_be_visible(timeout=60_000)
    picture("5-more-like-these")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text("3 rare-keep")).to_be_visible(timeout=30_000)
    page.keyboard.press("Backquote")
    page.keyboard.type("mincurate: rebalance")
    page.wait_for_timeout(2000)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_text("Generate what is missing")).to_be_visible(
        timeout=60_000
    )
    picture("6-rebalance")
    page.keyboard.press("Escape")
    tab(page, "Generated")
    picture("7-generated")


def tab(page: Page, title: str) -> None:
    """Open a tab of the panel Long tail."""
    page.get_by_role("button", name=title, exact=True).click()


def tick(page: Page, tile: int) -> None:
    """Select an image of the grid: the check box appears where the mouse is."""
    image = page.locator("[data-cy=looker]").nth(tile)
    image.hover()
    corner = image.bounding_box()
    page.mouse.click(corner["x"] + 19, corner["y"] + 19)


if __name__ == "__main__":
    main()
