"""Behind a proxy: what trusted ones say decides addresses in answers, cookies and counting; others say nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from petapter_registry_server.api.forwarded import Forwarded
from petapter_registry_server.settings import Settings, read_settings
from petapter_schemas.errors import InputError
from tests.registry_process import new_token, serving
from tests.registry_server.conftest import Caller, Registry, open_registry
from tests.registry_server.module_bytes import safetensors

PROXY = "10.1.2.3"
SAID = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hub.example", "X-Forwarded-For": "192.0.2.7"}
LARGE = safetensors({"weight": (50, 10)})


@contextmanager
def behind(data: Path, peer: str, **settings: Any) -> Iterator[Registry]:
    """A registry that trusts 10.0.0.0/8, asked from one address."""
    opened = open_registry(Settings(data=data, trusted_proxies="10.0.0.0/8, ::1", max_inline_bytes=1000, **settings))
    client = TestClient(opened.app, "http://inner:8470", raise_server_exceptions=False, client=(peer, 5))
    with client:
        yield Registry(opened.settings, opened.app, client, opened.admin_token)


def addresses(caller: Caller) -> list[str]:
    """Every kind of address that answers name."""
    name = json.dumps({"name": "x", "organization": "team"})
    created = caller.call("POST", "/api/repos/create", content=name, headers=SAID).json()["url"]
    again = caller.call("POST", "/api/repos/create", content=name, headers=SAID).json()["url"]
    caller.create("team/y")
    page = caller.get("/api/models?limit=1", headers=SAID).links["next"]["url"]
    header = b'{"key": "header", "value": {"summary": "s"}}\n'
    line = b'{"key": "file", "value": {"content": "eA==", "path": "a.txt", "encoding": "base64"}}\n'
    commit = caller.call("POST", "/api/models/team/x/commit/main", content=header + line, headers=SAID)
    xet = caller.get("/api/models/team/x/xet-write-token/main", headers=SAID)
    asked = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "0" * 64, "size": len(LARGE)}]}
    lfs = caller.call("POST", "/team/x.git/info/lfs/objects/batch", json=asked, headers=SAID).json()
    actions = lfs["objects"][0]["actions"]
    device = caller.call("POST", "/oauth/device", headers=SAID).json()["verification_uri"]
    return [created, again, page, commit.json()["commitUrl"], xet.json()["casUrl"], xet.headers["X-Xet-Cas-Url"],
            actions["upload"]["href"], actions["verify"]["href"], device]  # fmt: skip


@pytest.mark.parametrize(
    ("peer", "origin"), [(PROXY, "https://hub.example/"), ("::1", "https://hub.example/"), ("192.0.2.1", "http://inner:8470/")]
)  # fmt: skip
def test_all_addresses_are_on_the_host_that_a_trusted_proxy_names(tmp_path: Path, peer: str, origin: str) -> None:
    with behind(tmp_path / "data", peer) as registry:
        found = addresses(registry.caller("ada"))
    assert [address for address in found if not address.startswith(origin)] == []


def test_cookies_are_for_https_alone_where_a_trusted_proxy_speaks_it(tmp_path: Path) -> None:
    for number, (peer, is_secure) in enumerate([(PROXY, True), ("192.0.2.1", False)]):
        with behind(tmp_path / str(number), peer) as registry:
            page = registry.client.get("/web/login", headers=SAID)
            assert [header for header in page.headers.get_list("set-cookie") if "Secure" in header] == (
                page.headers.get_list("set-cookie") if is_secure else []
            )
            assert page.headers.get_list("set-cookie")


@pytest.mark.parametrize(("peer", "statuses"), [(PROXY, [200, 200, 429]), ("192.0.2.1", [200, 429, 429])])
def test_requests_are_counted_for_the_client_behind_a_trusted_proxy(
    tmp_path: Path, peer: str, statuses: list[int]
) -> None:
    with behind(tmp_path / "data", peer, rate_limits=True, rate_limit_address=1) as registry:
        answers = [
            registry.client.get("/api/models", headers={"X-Forwarded-For": named})
            for named in ("192.0.2.7", "192.0.2.8", "192.0.2.7")
        ]
    assert [answer.status_code for answer in answers] == statuses


async def seen(headers: list[tuple[str, str]], peer: str = PROXY) -> Scope:
    """The request as the application gets it."""
    got: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(scope)
        del receive, send

    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope: Scope = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": encoded}
    await Forwarded(app, [ip_network("10.0.0.0/8")])(scope, None, None)  # type: ignore[arg-type]
    return got[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("named", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("192.0.2.7:1234", "192.0.2.7"),
        ("[2001:db8::1]:1234", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", PROXY),
        ("192.0.2.7, nonsense", PROXY),
        ("", PROXY),
    ],
)
async def test_client_is_the_last_address_that_is_no_trusted_proxy(named: str, client: str) -> None:
    assert (await seen([("X-Forwarded-For", named)]))["client"][0] == client


@pytest.mark.anyio
async def test_last_value_counts_and_one_that_is_no_host_or_scheme_does_not() -> None:
    two = [("Host", "inner"), ("X-Forwarded-Host", "evil.example, hub.example:8443"), ("X-Forwarded-Proto", "HTTPS")]
    scope = await seen(two)
    assert ([value for name, value in scope["headers"] if name == b"host"], scope["scheme"]) == (
        [b"hub.example:8443"],
        "https",
    )
    bad = [("Host", "inner"), ("X-Forwarded-Host", "a b/\r\n"), ("X-Forwarded-Proto", "javascript")]
    scope = await seen(bad)
    assert ([value for name, value in scope["headers"] if name == b"host"], scope["scheme"]) == ([b"inner"], "http")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_proxy_that_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trusted_proxies"):
        read_settings({"data": tmp_path, "trusted_proxies": "proxy.example"})


def test_server_without_trusted_proxies_believes_nobody_even_on_its_own_machine(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        token = new_token(tmp_path / "data")
        body = json.dumps({"name": "x", "organization": "team"}).encode()
        headers = {**SAID, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with urlopen(Request(f"{server.url}/api/repos/create", body, headers)) as answer:  # noqa: S310 (our own server)
            assert json.load(answer)["url"] == f"{server.url}/team/x"
