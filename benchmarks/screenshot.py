"""Pictures of a report as a browser shows it: light and dark, on a desktop and on a phone.

    python benchmarks/screenshot.py [artifacts/report.html] [--folder artifacts/screenshots]

Needs Chromium (apt-get install chromium) and Playwright (in the group `dev`).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"desktop": 1280, "phone": 390}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?", default=Path("artifacts/report.html"))
    parser.add_argument("--folder", type=Path, default=Path("artifacts/screenshots"))
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        parser.error("no Chromium found; run: apt-get install chromium")
    if not options.page.exists():
        parser.error(f"no such file: {options.page}; run: pipeline run all")
    options.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        # Chromium's sandbox refuses to work for root, which is who runs in most containers.
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                page = opened.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                page.goto(options.page.resolve().as_uri())
                file = options.folder / f"{name}-{scheme}.png"
                page.screenshot(path=file, full_page=True)
                page.close()
                print(file)
        opened.close()


if __name__ == "__main__":
    main()
