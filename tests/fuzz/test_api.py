"""A few generated requests to every route; `python -m tests.fuzz.api` sends thousands."""

from pathlib import Path

from petapter_registry_server.settings import Settings
from tests.fuzz.api_cases import Requests, operations
from tests.registry_server.conftest import running


def test_no_generated_request_breaks_the_registry(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        requests = Requests(registry, 5)
        requests.run(1)
    assert requests.seen.bad == []
    assert sum(requests.seen.statuses.values()) >= len(list(operations()))
    assert {200, 400, 401, 403, 404} <= requests.seen.statuses.keys()
