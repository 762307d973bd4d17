"""A real headless Chromium for tests: Debian's, driven by Playwright, which fetches none of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

AXE = Path(__file__).parents[1] / "assets" / "axe-core" / "axe.min.js"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 120_000
"""A machine that does other things too may take so long."""

SERIOUS = {"serious", "critical"}


def find_chromium() -> str | None:
    """Where Debian's Chromium is; None where it is not installed."""
    return shutil.which("chromium")


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """A running Chromium; the test is skipped where there is none."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=WAIT_MS)
        try:
            yield browser
        finally:
            browser.close()


def serious_findings(page: Page) -> list[str]:
    """What axe-core finds on a page that keeps somebody from using it; the page's own policy stays in force for it."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{each['id']}: {each['help']} ({node['target']}: {node['failureSummary']})"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]
