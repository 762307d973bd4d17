"""Signing in with a real browser: two sites, real cookies, and the pages' policy in force."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Registry, running
from tests.registry_server.headless import WAIT_MS, headless_chromium, serious_findings
from tests.registry_server.identity_provider import CLIENT, Provider, running_provider
from tests.registry_server.test_pages_in_a_browser import reachable

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=WAIT_MS)


@dataclass(frozen=True)
class Place:
    """A registry at `localhost` and a provider at 127.0.0.1, which are two sites to a browser."""

    registry: Registry
    provider: Provider
    page: Page


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running_provider() as provider:
        settings = Settings(
            data=tmp_path / "data", oidc_issuer=provider.url, oidc_client_id=CLIENT, oidc_label="Acme",
            oidc_loopback=True, oidc_create_users=True, webhook_interval_s=0,
        )  # fmt: skip
        with running(settings) as registry, reachable(registry) as url, headless_chromium() as browser:
            context = browser.new_context(base_url=url.replace("127.0.0.1", "localhost"))
            context.set_default_timeout(WAIT_MS)
            page = context.new_page()
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            yield Place(registry, provider, page)
            assert complaints == []


def test_person_signs_in_lets_a_program_in_and_logs_out(place: Place) -> None:
    page = place.page
    device = place.registry.anonymous.call("POST", "/oauth/device", data={"client_id": "x"}).json()
    page.goto("/web/login?next=/web/devices")
    assert serious_findings(page) == []
    page.get_by_role("link", name="Sign in with Acme").click()
    expect(page.get_by_text("A program asks to act as grace on this registry.")).to_be_visible()
    page.get_by_label("The code that it shows").fill(device["user_code"])
    page.get_by_role("button", name="Let it log in").click()
    expect(page.get_by_role("status")).to_contain_text("is logged in as you")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()


def test_user_links_an_identity_and_signs_in_by_it(place: Place) -> None:
    page = place.page
    page.goto("/web/login?next=/web/identities")
    page.get_by_label("A token of yours").fill(place.registry.caller("ada").token or "")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Link an identity of Acme").click()
    expect(page.get_by_role("heading", name="Link an identity")).to_be_visible()
    assert serious_findings(page) == []
    page.get_by_role("button", name="Link it with ada").click()
    expect(page.get_by_role("heading", name="Identities of ada")).to_be_visible()
    assert serious_findings(page) == []
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_role("link", name="Sign in with Acme").click()
    expect(page.get_by_role("link", name="ada", exact=True)).to_be_visible()
