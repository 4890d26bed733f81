"""The App in a real Chromium, opened the way `mincurate launch` opens it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.app,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.usefixtures("database"),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
def test_launch_opens_on_the_ranked_images_beside_the_map(shapes, tmp_path):
    from playwright.sync_api import sync_playwright

    import mincurate

    result = mincurate.score(shapes, dataset="app-shapes", train_steps=20, n_draws=2, num_classes=5)
    port = free_port()
    command = [sys.executable, "-c", "from mincurate.cli import main; main()", "launch",
               "app-shapes", "--port", str(port), "--remote"]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        waited, url = time.monotonic(), None
        while url is None and time.monotonic() - waited < 90:
            line = server.stdout.readline()
            assert line or server.poll() is None, "the App did not start"
            address = re.search(r"http://\S+", line)
            url = address.group() if address else None
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1500, "height": 900})
            # FiftyOne then shows no advertisement, which would hide the panel.
            page.add_init_script("window.IS_PLAYWRIGHT = true")
            page.goto(url, wait_until="load")
            page.wait_for_selector("[data-cy=looker]", timeout=60_000)
            page.wait_for_selector("text=Embeddings", timeout=30_000)
            page.wait_for_selector(".barlayer .trace path", timeout=90_000)
            time.sleep(3)
            shots = Path(os.environ.get("MINCURATE_SCREENSHOTS", tmp_path))
            shots.mkdir(exist_ok=True)
            page.screenshot(path=shots / "launch.png")
            shown = page.locator("[data-cy=looker]").first.inner_text()
            text = page.inner_text("body")
            page.get_by_role("button", name="Map", exact=True).click()
            page.wait_for_selector(".gl-container canvas", state="attached", timeout=60_000)
            page.wait_for_selector("text=/60 images, similar ones close together/")
            time.sleep(3)
            page.screenshot(path=shots / "launch-map.png")
            browser.close()
    finally:
        server.send_signal(2)
        output = server.communicate(timeout=180)[0]
    rarest = result.frame.sort_values("rarity").iloc[-1]
    # The App drops trailing zeros: 0.440 reads 0.44.
    assert f"{rarest['embedding_rarity']:.3f}".rstrip("0").rstrip(".") in shown, shown
    assert "embedding rarity, higher is rarer" in text and "rarest-first" in text
    assert "Closed." in output and "Traceback" not in output
    assert server.returncode == 0
