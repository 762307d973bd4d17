"""Evaluation sets and leaderboards in a real browser, at a registry of their own: search would find their modules."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import open_registry
from tests.registry_server.evaluation_data import published_set
from tests.registry_server.headless import headless_chromium, serious_findings
from tests.registry_server.page_modules import BOARD, fill_board, publish
from tests.registry_server.test_pages_in_a_browser import Site, at, reachable
from tests.registry_server.trained_bench import ROWS, Bench

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SET = "/evalsets/team/tickets-2024"
BOARD_PAGES = {
    "evalsets": "/evalsets", "evalset": f"{SET}?metric=accuracy", "evalset-mixed": f"{SET}?metric=accuracy&sort=value",
    "module-measured": "/team/tickets-base", "evalset-kept-back": "/evalsets/team/licensed",
    "evalset-nothing": "/evalsets?text=zebra", "evalset-refused": f"{SET}?metric=f1",
}  # fmt: skip
ORDER = ("tickets-base", "tickets-small", "tickets-old", "tickets-large", "tickets-new", "tickets-fast")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    registry = open_registry(Settings(data=tmp_path_factory.mktemp("boards") / "data"))
    with registry.client:
        fill_board(registry, "team")
        with reachable(registry) as url:
            yield Site(registry, url, registry.caller("ada"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with headless_chromium() as browser:
        yield browser


@pytest.mark.parametrize("script", [True, False])
def test_board_is_found_sorted_and_filtered_and_leads_to_its_modules(
    site: Site, chromium: Browser, script: bool
) -> None:
    with at(site, chromium, java_script_enabled=script) as page:
        page.goto("/")
        page.get_by_role("link", name="All evaluation sets").click()
        page.get_by_label("Words").fill("hundred")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="team/tickets-2024").click()
        lines = page.get_by_role("region", name=re.compile("Leaderboard of")).get_by_role("rowheader")
        assert {*ORDER} == {*BOARD}
        expect(lines).to_have_text([re.compile(name) for name in ORDER])
        page.get_by_role("link", name="value, whoever says it").click()
        expect(lines.first).to_contain_text("tickets-new")
        page.get_by_role("link", name="accuracy", exact=True).click()
        page.get_by_role("link", name="verified", exact=True).click()
        expect(lines).to_have_count(3)
        assert page.url.endswith(f"{SET}?sort=value&metric=accuracy&status=verified#board")
        expect(page.get_by_role("row", name=re.compile("tickets-base"))).to_contain_text("1 tie")
        lines.first.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("tickets-base")


def test_digest_of_the_rows_is_copied(site: Site, chromium: Browser) -> None:
    with at(site, chromium, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(SET)
        page.get_by_role("button", name="Copy the sha256 of the rows").click()
        expect(page.get_by_role("button", name="Copy the sha256 of the rows")).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == site.registry.anonymous.get(f"/api/petapter/v1{SET}").json()["versions"][0]["rows_sha256"]


def test_evaluation_is_run_and_the_board_changes(site: Site, chromium: Browser, tmp_path: Path) -> None:
    """Asked for in the browser, measured by the real worker in a process of its own, and read in the browser."""
    bench = Bench.at(tmp_path / "bench")
    published_set(site.ada, "team", ROWS, name="reviews")
    assert site.ada.create("team/measured").status_code == 200
    publish(site.ada, "team/measured", "1.0.0", bench.files)
    with at(site, chromium, site.ada.token) as page:
        board = "/evalsets/team/reviews?metric=accuracy"
        line = page.get_by_role("row", name=re.compile("measured"))
        page.goto(board)
        expect(line).to_contain_text("declared")
        page.goto("/team/measured")
        page.get_by_label("Evaluation set").select_option("team/reviews@1.0.0")
        page.get_by_role("button", name="Run an evaluation").click()
        expect(page.locator("#job-1")).to_contain_text("queued")
        done = bench.work(site.registry, tmp_path)
        assert done.returncode == 0, done.stderr
        page.reload()
        expect(page.locator("#job-1")).to_contain_text("done")
        page.goto(board)
        expect(line).to_contain_text("verified")
        expect(line).to_contain_text("bench")
        told = site.ada.get("/api/petapter/v1/modules/team/measured/evaluations").json()["evaluations"][0]
        (accuracy,) = (each["value"] for each in told["figures"] if each["metric"] == "accuracy")
        expect(line).to_contain_text(f"{accuracy:.3f}")
        page.get_by_role("link", name="verified", exact=True).click()
        expect(line).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_keeps_somebody_from_using_it(site: Site, chromium: Browser, scheme: Any, width: int) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with at(site, chromium, site.registry.admin_token, **options) as page:
        for name, path in BOARD_PAGES.items():
            page.goto(path)
            assert serious_findings(page) == [], name
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, f"{name} is {wider} pixels wider than the screen"
