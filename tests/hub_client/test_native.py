"""Requests to a registry's native API."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from petapter_hub_client import native
from petapter_hub_client.hub import open_hub
from petapter_hub_client.maintaining import find_detail
from tests.hub_client.conftest import Petapter


def test_certificates_are_read_once_for_all_requests(
    lab: Petapter, repo_id: str, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab("push", module, repo_id).code == 0
    native._trusted.cache_clear()
    made: list[int] = []
    create: Callable[[], object] = httpx.create_ssl_context
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: made.append(1) or create())
    hub = open_hub("lab")
    for _ in range(3):
        detail = find_detail(hub, repo_id)
        assert detail is not None
    assert made == [1]
