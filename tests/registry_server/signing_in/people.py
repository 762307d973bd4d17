"""People with browsers for the tests of signing in, and what these tests ask of a registry."""

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from tests.registry_server.browser_caller import text_of
from tests.registry_server.conftest import Registry
from tests.registry_server.identity_provider import CLIENT, SECRET, Provider

ORIGIN = "http://registry.test"
LOGIN, CALLBACK, LINK = "/web/oidc/login", "/web/oidc/callback", "/web/oidc/link"
COOKIE = "petapter-sign-in"


@dataclass
class Person:
    """Somebody with a browser that keeps cookies as browsers do."""

    registry: Registry
    cookies: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, **options: Any) -> Any:
        self.registry.client.cookies.clear()
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"cookie": kept, "origin": ORIGIN}
        answer = self.registry.client.request(method, path, headers=headers, follow_redirects=False, **options)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in line:
                del self.cookies[name]
        return answer

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def send(self, page: Any, path: str, **fields: str) -> Any:
        """Send the form of a page, with what stands in it."""
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return self.call("POST", path, data={**hidden, **fields})

    def log_in(self, token: str | None) -> None:
        assert self.send(self.get("/web/login"), "/web/login", token=token or "").status_code == 303

    def return_from(self, provider: Provider, start: str = LOGIN, **changed: str) -> Any:
        """Go to the provider, sign in there, and come back with what it gives, or something else."""
        begun = self.get(start)
        assert begun.status_code == 303, begun.text
        brought = {**provider.authorize(begun.headers["location"]), **changed}
        return self.get(CALLBACK, params={name: value for name, value in brought.items() if value})

    @property
    def name(self) -> str | None:
        """Whom the registry takes this browser for."""
        shown = re.search(r"Tokens of (\S+)", text_of(self.get("/web/tokens")))
        return shown[1] if shown else None


def settings_for(provider: Provider, **others: Any) -> dict[str, Any]:
    return {
        "oidc_issuer": provider.url, "oidc_client_id": CLIENT, "oidc_client_secret": SecretStr(SECRET),
        "oidc_label": "Acme", "oidc_loopback": True, **others,
    }  # fmt: skip


welcoming = pytest.mark.parametrize("registry", [{"oidc_create_users": True}], indirect=True)


def link(registry: Registry, provider: Provider, user: str = "ada") -> None:
    """Let the person whom the provider knows be a user."""
    registry.caller(user)
    registry.app.state.services.identities.link_for(user, provider.url, provider.claims["sub"])


def rows(registry: Registry) -> list[tuple[str, str, str]]:
    found = registry.admin.get("/api/petapter/v1/audit?limit=1000").json()
    return [(row["actor"], row["action"], row["subject"]) for row in found]


def refuses(answer: Any, status: int, cause: str) -> None:
    """A page that says why, and begins no login."""
    assert answer.status_code == status, answer.text
    assert cause in answer.text.replace("&#39;", "'")
    assert not [line for line in answer.headers.get_list("set-cookie") if line.startswith("petapter=")]
    assert CALLBACK not in answer.text
