"""A registry with an identity provider, and somebody with a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry_server.conftest import Backing, Registry, running
from tests.registry_server.identity_provider import Provider, running_provider
from tests.registry_server.signing_in.people import (
    Person,
    settings_for,
)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as started:
        yield started


@pytest.fixture
def registry(
    request: pytest.FixtureRequest, tmp_path: Path, backing: Backing, provider: Provider
) -> Iterator[Registry]:
    others = getattr(request, "param", {})
    with running(backing.settings(tmp_path / "data", **settings_for(provider, **others))) as opened:
        yield opened


@pytest.fixture
def somebody(registry: Registry) -> Person:
    return Person(registry)
