"""The pages in a real browser: what people do there, with and without JavaScript, and what attackers try."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect

from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Caller, Registry, open_registry
from tests.registry_server.headless import WAIT_MS, headless_chromium, serious_findings
from tests.registry_server.page_modules import PageModule, fill, publish, tell
from tests.registry_server.varied_modules import Varied

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=WAIT_MS)

HOSTILE_CARD = """---
license: apache-2.0
---
# <script>document.title = "run"</script>

<img src=x onerror="document.title = 'run'"> <svg onload="document.title='run'"><a xlink:href="javascript:1">x</a></svg>

[a](javascript:document.title='run') [b](data:text/html,<script>document.title='run'</script>) [c](vbscript:x)
[d](JaVaScRiPt:document.title='run') ![e](javascript:document.title='run') <javascript:document.title='run'>

<iframe srcdoc="<script>parent.document.title='run'</script>"></iframe>
<form action=/web/logout method=post><button>x</button></form> <style>body { display: none }</style>
<base href="https://evil.test/"> <meta http-equiv=refresh content="0;url=https://evil.test/">

`</code><script>document.title='run'</script>` &lt;script&gt;document.title='run'&lt;/script&gt;

[x]: javascript:document.title='run' "onmouseover=document.title='run'"
[click][x]
"""


@dataclass(frozen=True)
class Site:
    """A registry that a browser can reach."""

    registry: Registry
    url: str
    ada: Caller


@contextmanager
def reachable(registry: Registry) -> Iterator[str]:
    """The registry's application on a free port of loopback."""
    config = uvicorn.Config(registry.app, port=0, log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    registry = open_registry(Settings(data=tmp_path_factory.mktemp("browser") / "data", webhook_interval_s=0))
    with registry.client:
        ada = fill(registry)
        tell(registry, ada)
        with reachable(registry) as url:
            yield Site(registry, url, ada)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with headless_chromium() as browser:
        yield browser


@contextmanager
def at(site: Site, chromium: Browser, token: str | None = None, **options: Any) -> Iterator[Page]:
    """A browser at the registry, logged in where a token is given; a complaint on its console fails the test."""
    context = chromium.new_context(base_url=site.url, **options)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        if token is not None:
            log_in(page, token)
        yield page
        refused = ("status of 4", "Response Status Error Code 4")  # by the browser, and by htmx
        assert [text for text in complaints if not any(words in text for words in refused)] == []
    finally:
        context.close()


def log_in(page: Page, token: str) -> None:
    page.goto("/web/login")
    page.get_by_label("A token of yours").fill(token)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def names(page: Page) -> list[str]:
    return page.locator(".module h3 a").all_inner_texts()


def test_search_open_and_compare(site: Site, chromium: Browser) -> None:
    with at(site, chromium) as page:
        page.goto("/")
        page.get_by_label("Words").fill("ticket")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".module")).to_have_count(2)
        page.get_by_role("link", name="without words: ticket").focus()
        page.locator("aside").get_by_role("link", name="macro_f1").click()
        expect(page.locator(".module")).to_have_count(1)
        assert page.url.endswith("/?text=ticket&where=macro_f1%3E%3D0")
        page.get_by_role("link", name="team/tickets").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("tickets")
        expect(page.locator(".example mark").first).to_have_text("great")
        page.get_by_role("link", name="Compare versions").click()
        expect(page.get_by_role("row", name=re.compile("macro_f1"))).to_contain_text("+0.070")
        page.go_back()
        page.go_back()
        expect(page.locator(".module")).to_have_count(1)


def test_search_swaps_its_results_alone_and_the_header_stays(site: Site, chromium: Browser) -> None:
    with at(site, chromium) as page:
        page.goto("/")
        page.evaluate("document.querySelector('header').dataset.same = 'yes'")
        page.get_by_label("A label").fill("toxic")
        page.get_by_label("A label").press("Enter")
        expect(page.locator(".module")).to_have_count(1)
        expect(page.locator("#status")).to_have_text("1 module")
        assert page.locator("header").get_attribute("data-same") == "yes"
        page.go_back()
        expect(page.locator(".module")).to_have_count(4)


def test_everything_can_be_read_and_sent_without_javascript(site: Site, chromium: Browser) -> None:
    assert site.ada.token is not None
    with at(site, chromium, site.ada.token, java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_label("Words").fill("ticket")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".module")).to_have_count(2)
        page.get_by_role("link", name="team/tickets", exact=True).click()
        expect(page.get_by_role("img", name=re.compile("Reliability"))).to_be_visible()
        assert page.get_by_role("button", name="Copy").count() == 0
        page.goto("/web/tokens")
        page.get_by_label("What it is for").fill("no script")
        page.get_by_role("button", name="Create the token").click()
        expect(page.locator(".copy code")).to_have_text(re.compile("^ppt_"))


def test_refused_figure_is_shown_as_the_page_that_it_is(site: Site, chromium: Browser) -> None:
    with at(site, chromium) as page:
        page.goto("/")
        page.get_by_label("A figure").fill("high")
        page.get_by_label("A figure").press("Enter")
        expect(page.get_by_text("'high' is no bound on a metric")).to_be_visible()


def test_log_in_create_a_token_yank_and_log_out(site: Site, chromium: Browser) -> None:
    assert site.ada.token is not None
    assert site.ada.create("team/passing").status_code == 200
    publish(site.ada, "team/passing", "1.0.0", Varied(fill=0.7).files())
    with at(site, chromium, site.ada.token) as page:
        page.goto("/web/tokens")
        page.get_by_label("What it is for").fill("CI")
        page.get_by_label("The most that it may do").select_option("write")
        page.get_by_role("button", name="Create the token").click()
        secret = page.locator(".copy code").inner_text()
        assert (
            site.registry.client.get("/api/whoami-v2", headers={"authorization": f"Bearer {secret}"}).status_code == 200
        )
        page.goto("/team/passing")
        page.get_by_text("Yank 1.0.0").first.click()
        page.get_by_label("Why").fill("labels were swapped")
        page.get_by_role("button", name="Yank 1.0.0").click()
        expect(page.get_by_text("This version was withdrawn")).to_contain_text("labels were swapped")
        page.get_by_role("button", name="Show 1.0.0 again").click()
        expect(page.get_by_text("This version was withdrawn")).to_have_count(0)
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in", exact=True).first).to_be_visible()
        page.goto("/web/tokens")
        expect(page.get_by_text("a token is needed")).to_be_visible()
    site.ada.delete("team/passing")


def test_command_is_copied(site: Site, chromium: Browser) -> None:
    with at(site, chromium, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto("/team/tickets")
        page.get_by_role("button", name="Copy the command to pull").click()
        expect(page.get_by_role("button", name="Copy the command to pull")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "petapter pull lab:team/tickets@v1.1.0"


def test_search_can_be_used_by_keyboard_alone(site: Site, chromium: Browser) -> None:
    with at(site, chromium) as page:
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.type("spam")
        page.keyboard.press("Enter")
        expect(page.locator(".module")).to_have_count(1)


def test_card_cannot_run_anything(site: Site, chromium: Browser) -> None:
    description = "</script><script>document.title='run'</script>"
    varied = Varied(fill=0.9, labels=("<img src=x onerror=document.title='run'>", "poor"), description=description)
    assert site.ada.create("team/hostile").status_code == 200
    publish(site.ada, "team/hostile", "1.0.0", PageModule(varied, HOSTILE_CARD).files())
    try:
        with at(site, chromium) as page:
            requests: list[str] = []
            page.on("request", lambda request: requests.append(request.url))
            for path in ("/team/hostile", "/?text=hostile", "/team"):
                page.goto(path)
                page.wait_for_load_state("networkidle")
                assert "run" not in page.title()
            page.goto("/team/hostile")
            for link in page.locator(".card a").all():
                assert re.match(r"https?://", link.get_attribute("href") or "http://"), link.get_attribute("href")
                assert link.get_attribute("rel") == "nofollow noopener noreferrer ugc"
            kinds = page.locator(".card *").evaluate_all("all => [...new Set(all.map(e => e.localName))]")
            assert not {"script", "img", "svg", "iframe", "form", "style", "base", "meta", "button"} & set(kinds)
            assert all(url.startswith(site.url) for url in requests)
    finally:
        site.ada.delete("team/hostile")


def test_policy_stops_a_script_that_gets_into_a_page_anyhow(site: Site, chromium: Browser) -> None:
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/")
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', "<img src=x onerror=\\"document.title='run'\\">");
    }""")
    page.wait_for_timeout(200)
    assert page.title() == "petapter registry"
    context.close()


@contextmanager
def another_site(context: BrowserContext, form: str) -> Iterator[Page]:
    """A page of another site in the same browser."""
    context.route("http://evil.test/", lambda route: route.fulfill(content_type="text/html", body=form))
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto("http://evil.test/")
    yield page


def test_form_of_another_site_does_nothing_in_the_name_of_a_visitor(site: Site, chromium: Browser) -> None:
    assert site.ada.token is not None
    before = len(site.ada.get("/api/petapter/v1/tokens").json())
    with at(site, chromium, site.ada.token) as page:
        form = (
            f'<form method="post" action="{site.url}/web/tokens"><input name="name" value="stolen">'
            '<input name="proof" value="00"><button>Win</button></form>'
        )
        with another_site(page.context, form) as evil:
            evil.get_by_role("button").click()
            expect(evil.get_by_text("this form was sent from another site")).to_be_visible()
        page.goto("/web/tokens")
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
    assert len(site.ada.get("/api/petapter/v1/tokens").json()) == before


def test_no_site_may_frame_a_page(site: Site, chromium: Browser) -> None:
    context = chromium.new_context()
    with another_site(context, f'<iframe src="{site.url}/web/login"></iframe>') as evil:
        evil.wait_for_load_state("networkidle")
        assert not [frame for frame in evil.frames[1:] if frame.locator("form").count()]
    context.close()


def test_search_page_is_small(site: Site, chromium: Browser) -> None:
    for number in range(16):
        name = f"team/filler-{number}"
        assert site.ada.create(name).status_code == 200
        publish(site.ada, name, "1.0.0", Varied(fill=number / 10, description="Some more words " * 12).files())
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.goto("/")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".module")).to_have_count(20)
    assert len(received) >= 4  # the page, its style sheet and both scripts
    assert 20_000 < sum(received) <= 60 * 1024, received
    context.close()
    for number in range(16):
        site.ada.delete(f"team/filler-{number}")


PAGES = {
    "search": "/", "search-filtered": "/?language=de&text=t&sort=name", "search-nothing": "/?text=zebra",
    "module": "/team/tickets", "module-old": "/team/tickets?revision=v1.0.0", "module-child": "/team/tickets-de",
    "compare": "/team/tickets/compare", "namespace": "/team", "user": "/admin", "login": "/web/login",
    "devices": "/web/devices", "tokens": "/web/tokens", "organisations": "/web/organisations",
    "members": "/web/organisations/team", "webhooks": "/web/webhooks?for=team/*", "deliveries": "/web/webhooks/1",
    "access": "/team/spam/access", "audit": "/web/audit", "operations": "/web/operations",
    "not-found": "/nobody/nothing", "refused": "/?where=high",
}  # fmt: skip
"""Every kind of page, as an admin of the registry sees it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_keeps_somebody_from_using_it(site: Site, chromium: Browser, scheme: Any, width: int) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with at(site, chromium, site.registry.admin_token, **options) as page:
        for name, path in PAGES.items():
            page.goto(path)
            assert serious_findings(page) == [], name
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, f"{name} is {wider} pixels wider than the screen"
