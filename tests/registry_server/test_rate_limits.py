from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import parse_ratelimit_headers

from petapter_registry_server.errors import TooManyRequestsError
from petapter_registry_server.services.callers import ANONYMOUS, Caller
from petapter_registry_server.services.rate_limits import RateLimits, Rates
from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Registry, running

ADA = Caller(1, "ada", "write", token_id=1)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Registry]:
    settings = Settings(data=tmp_path / "data", rate_limits=True, rate_limit_user=4, rate_limit_address=2)
    with running(settings) as opened:
        yield opened


def taken(limits: RateLimits, caller: Caller, address: str) -> bool:
    try:
        limits.count(caller, address)
    except TooManyRequestsError:
        return False
    return True


def test_request_above_the_limit_is_429_in_the_form_that_clients_read(limited: Registry) -> None:
    caller = limited.caller("ada")
    statuses = [caller.get("/api/whoami-v2").status_code for _ in range(5)]
    answer = caller.get("/api/whoami-v2")
    assert statuses == [200] * 4 + [429]
    info = parse_ratelimit_headers(answer.headers)
    assert info is not None
    assert (info.resource_type, info.remaining, info.limit, info.window_seconds) == ("api", 0, 4, 300)
    assert 0 < info.reset_in_seconds <= 300
    assert int(answer.headers["Retry-After"]) == info.reset_in_seconds
    assert answer.json()["error"].startswith("more than 4 requests in 300 seconds: try again in ")


def test_users_do_not_share_a_limit_and_their_tokens_do(limited: Registry) -> None:
    first, second, other = limited.caller("ada"), limited.caller("ada"), limited.caller("eve")
    assert [caller.get("/api/models").status_code for caller in (first, second) * 2] == [200] * 4
    assert [caller.get("/api/models").status_code for caller in (first, second, other)] == [429, 429, 200]


def test_wrong_tokens_and_no_token_count_for_the_address(limited: Registry) -> None:
    wrong = {"authorization": "Bearer ppt_guess"}
    answers = [limited.client.get("/api/models", headers=wrong) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert limited.anonymous.get("/api/models").status_code == 429
    assert limited.anonymous.call("POST", "/api/validate-yaml", json={"content": "x"}).status_code == 429
    assert limited.caller("ada").get("/api/models").status_code == 200


def test_refused_request_changes_nothing(limited: Registry) -> None:
    caller = limited.caller("ada")
    for _ in range(4):
        caller.get("/api/models")
    assert caller.create("ada/mine").status_code == 429
    assert limited.admin.get("/api/models/ada/mine").status_code == 404


def test_health_is_not_counted(limited: Registry) -> None:
    assert {limited.anonymous.get("/health").status_code for _ in range(5)} == {200}


def test_limit_ends_with_its_window() -> None:
    limits = RateLimits(Rates(user=1, window_s=2))
    assert [taken(limits, ADA, "192.0.2.1") for _ in range(2)] == [True, False]
    while not taken(limits, ADA, "192.0.2.1"):
        pass


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("testclient", "testclient", True),
    ],
)
def test_address_has_a_limit_of_its_own(first: str, second: str, shared: bool) -> None:
    limits = RateLimits(Rates(address=1))
    assert taken(limits, ANONYMOUS, first)
    assert taken(limits, ANONYMOUS, second) is not shared


@pytest.mark.parametrize(
    ("host", "said", "expected"),
    [
        ("127.0.0.1", None, (None, None)),
        ("192.0.2.1", None, (6000, 1500)),
        ("127.0.0.1", True, (6000, 1500)),
        ("192.0.2.1", False, (None, None)),
    ],
)
def test_requests_are_counted_where_other_machines_reach(
    tmp_path: Path, host: str, said: bool | None, expected: tuple[int | None, int | None]
) -> None:
    settings = Settings(data=tmp_path, host=host, rate_limits=said)
    assert (settings.user_rate, settings.address_rate) == expected


def test_registry_without_limits_counts_nothing() -> None:
    limits = RateLimits(Rates())
    assert all(taken(limits, ADA, "192.0.2.1") for _ in range(10))
