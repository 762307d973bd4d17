"""What the pages of evaluation sets say, to whom, and what they make of a bad address; without a browser."""

import html
import random
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from petapter_registry_server.settings import Settings
from petapter_schemas.strict_json import canonical
from tests.registry_server.browser_caller import Browser, text_of
from tests.registry_server.conftest import Registry, member_of_team, running
from tests.registry_server.evaluation_data import ROWS, published_set, send_set, spec_of
from tests.registry_server.page_modules import TICKET_ROWS, fill_board
from tests.registry_server.test_page_bad_input import cause

SET = "/evalsets/team/tickets-2024"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(Settings(data=tmp_path_factory.mktemp("boards") / "data")) as opened:
        member_of_team(opened)
        fill_board(opened, "team")
        yield opened


@pytest.fixture
def anonymous(registry: Registry) -> Browser:
    return Browser.of(registry, None)


def modules(answer: Any) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/([^"?]+)\?revision=', answer.text)


def test_list_shows_each_set_with_its_rows_and_how_many_modules_were_measured(anonymous: Browser) -> None:
    said = text_of(anonymous.get("/evalsets"))
    assert "team/ tickets-2024 1.0.0" in said
    assert "6 modules measured on it test, n 200" in said
    assert "licensed 1.0.0 digest alone" in said


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text=licensed", ["team/licensed"]),
        ("namespace=team&sort=name", ["team/licensed", "team/tickets-2024"]),
        ("text=&namespace=&rows=&sort=name", ["team/licensed", "team/tickets-2024"]),  # as a form with empty fields
        ("text=nothing-like-it", []),
    ],
)
def test_list_finds_what_the_api_finds(registry: Registry, anonymous: Browser, query: str, found: list[str]) -> None:
    answer = anonymous.get(f"/evalsets?{query}")
    kept = "&".join(pair for pair in query.split("&") if not pair.endswith("="))
    api = registry.anonymous.get(f"/api/petapter/v1/evalsets?{kept}").json()
    names = re.findall(r'<h2 class="name"><a href="/evalsets/([^"]+)">', answer.text)
    assert names == found == [each["id"] for each in api["sets"]]


def test_pages_of_the_list_follow_each_other(anonymous: Browser) -> None:
    first = anonymous.get("/evalsets?sort=name&limit=1")
    (following,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    second = anonymous.get(html.unescape(following))
    assert "tickets-2024" in second.text
    (back,) = re.findall(r'href="([^"]+)" rel="first"', second.text)
    assert text_of(anonymous.get(html.unescape(back))) == text_of(first)


def test_set_says_what_it_is_and_how_to_check_rows(anonymous: Browser) -> None:
    answer = anonymous.get(SET)
    said = text_of(answer)
    digest = spec_of(TICKET_ROWS).rows_sha256
    assert "their order does not matter, and the name of the file does not either" in said
    assert digest in said
    assert "petapter evalset check lab:team/tickets-2024@1.0.0 rows.csv" in said
    assert "petapter evalset pull lab:team/tickets-2024@1.0.0 --out tickets-2024" in said
    assert "Licence of the rows CC-BY-4.0" in said
    assert "poor 100 50.0 %" in said
    first = min(TICKET_ROWS, key=canonical)
    assert f"{first['text']} {first['label']}" in said


def test_set_whose_rows_are_kept_back_says_where_to_look_for_them(anonymous: Browser) -> None:
    said = text_of(anonymous.get("/evalsets/team/licensed"))
    assert "The rows themselves are not here: look for them at https://example.org/licensed-tickets." in said
    assert "evalset pull" not in said
    assert "No module that you may see has a figure on these rows." in said


def test_board_of_the_page_is_the_board_of_the_api(registry: Registry, anonymous: Browser) -> None:
    for query in ("", "metric=accuracy", "metric=accuracy&sort=value", "status=verified&status=declared", "sort=name"):
        api = registry.anonymous.get(f"/api/petapter/v1{SET}/leaderboard?{query}").json()
        assert modules(anonymous.get(f"{SET}?{query}")) == [line["id"] for line in api["lines"]] != []


def test_measured_figures_stand_first_with_ranks_and_who_measured(anonymous: Browser) -> None:
    answer = anonymous.get(f"{SET}?metric=accuracy")
    assert modules(answer) == [
        "team/tickets-base", "team/tickets-small", "team/tickets-old", "team/tickets-large", "team/tickets-new",
        "team/tickets-fast",
    ]  # fmt: skip
    said = text_of(answer)
    assert (
        "1 tie team/tickets-base 1.0.0 0.861 0.841 to 0.881 (95 %) 200 verified declared 0.861 worker-1 2023-11-14"
        in said
    )
    assert "3 team/tickets-old 1.0.0 0.713" in said
    assert "team/tickets-fast 1.0.0 0.845" in said
    assert "disputed declared 0.935" in said
    assert "figures that share a rank are near-ties" in said
    assert "Saying “poor” of every row has accuracy 0.500." in said
    assert modules(anonymous.get(f"{SET}?metric=accuracy&sort=value"))[0] == "team/tickets-new"


def test_every_choice_leads_to_a_board_and_keeps_the_others(anonymous: Browser) -> None:
    page = anonymous.get(f"{SET}?metric=accuracy&status=verified&sort=value").text
    links = [html.unescape(link) for link in re.findall(rf'href="({SET}[^"#]*)#board"', page)]
    assert f"{SET}?metric=accuracy&sort=value" in links  # without the status
    assert f"{SET}?metric=accuracy&status=verified&sort=value&status=disputed" in links
    assert f"{SET}?status=verified&sort=value&metric=macro_f1" in links
    for link in links:
        assert anonymous.get(link).status_code == 200, link


def test_figure_of_a_module_leads_to_the_set_of_its_rows_for_those_who_may_see_it(
    registry: Registry, anonymous: Browser
) -> None:
    address = f"{SET}?version=1.0.0&metric=macro_f1"
    assert f'href="{html.escape(address)}"' in anonymous.get("/team/tickets-base").text
    assert modules(anonymous.get(address))[0] == "team/tickets-base"
    settings = f"/api/petapter/v1{SET}/settings"
    ada = registry.caller("ada")
    ada.call("PUT", settings, json={"private": True})
    assert SET not in anonymous.get("/team/tickets-base").text
    assert SET in Browser.of(registry, ada.token).get("/team/tickets-base").text
    ada.call("PUT", settings, json={"private": False})


def test_version_that_is_not_the_newest_says_so(registry: Registry, anonymous: Browser) -> None:
    ada = registry.caller("ada")
    published_set(ada, "team", ROWS, name="twice")
    published_set(ada, "team", ROWS[:7], name="twice", version="1.1.0")
    said = text_of(anonymous.get("/evalsets/team/twice?version=1.0.0"))
    assert "You look at version 1.0.0 . The newest is 1.1.0 ." in said
    assert "The newest is" not in text_of(anonymous.get("/evalsets/team/twice"))
    ada.call("DELETE", "/api/petapter/v1/evalsets/team/twice/versions/1.0.0/rows")
    assert "The rows were taken back on" in text_of(anonymous.get("/evalsets/team/twice?version=1.0.0"))


def test_private_set_does_not_exist_for_strangers(registry: Registry, anonymous: Browser) -> None:
    ada = registry.caller("ada")
    assert send_set(ada, "team", spec_of(name="hidden"), ROWS, private=True).status_code == 200
    assert anonymous.get("/evalsets/team/hidden").status_code == 401
    assert Browser.of(registry, registry.caller("eve").token).get("/evalsets/team/hidden").status_code == 404
    shown = Browser.of(registry, ada.token).get("/evalsets/team/hidden")
    assert (shown.status_code, "private" in text_of(shown)) == (200, True)
    assert "team/hidden" not in anonymous.get("/evalsets").text


def test_namespace_and_search_lead_to_the_sets(anonymous: Browser) -> None:
    assert 'href="/evalsets?namespace=team"' in anonymous.get("/team").text
    assert 'href="/evalsets" hx-boost="false"' in anonymous.get("/").text


def test_namespace_that_holds_evaluation_sets_alone_has_a_page(registry: Registry, anonymous: Browser) -> None:
    published_set(registry.caller("grace"), "lab", name="only")
    assert anonymous.get("/lab").status_code == 200


def test_texts_of_rows_run_nothing(registry: Registry, anonymous: Browser) -> None:
    bad = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    rows = ({"text": bad, "label": "<b>x</b>"}, {"text": "{{7*7}}", "label": "y"})
    published_set(registry.caller("ada"), "team", rows, name="hostile", description=bad, source="javascript:alert(1)")
    for path in ("/evalsets/team/hostile", "/evalsets?text=hostile"):
        page = anonymous.get(path).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert ">49<" not in page
        assert 'href="javascript' not in page


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"{SET}?metrik=x", 400, "parameter 'metrik' is unknown"),
        (f"{SET}?metric=<script>alert(1)</script>", 400, "no module has a figure of it on these rows"),
        (f"{SET}?status=best", 400, "status 'best' is unknown"),
        (f"{SET}?sort=rank", 400, "sort"),
        (f"{SET}?version=9.9.9", 404, "there is no evaluation set team/tickets-2024 of version '9.9.9'"),
        (f"{SET}?version=%00", 404, "there is no evaluation set"),
        (f"{SET}?version=" + "a" * 101, 400, "version"),
        ("/evalsets/team/none", 401, "there is no evaluation set team/none"),
        ("/evalsets/team/tick\u0435ts-2024", 401, "there is no evaluation set"),  # a Cyrillic letter
        ("/evalsets/team/%2E%2E", 401, "there is no evaluation set"),
        ("/evalsets?rows=xyz", 400, "rows: give 8 to 64 digits"),
        ("/evalsets?sort=best", 400, "sort"),
        ("/evalsets?text=%00", 400, "a zero byte is no text"),
        ("/evalsets/team", 404, "is not a route of this registry"),
    ],
)
def test_bad_address_is_named(anonymous: Browser, path: str, status: int, said: str) -> None:
    answer = anonymous.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status
    assert said in cause(answer)
    assert "<script>alert" not in answer.text


def test_no_address_is_an_error_of_ours(anonymous: Browser) -> None:
    draw = random.Random(7)  # noqa: S311 (test input)
    pieces = [
        "metric", "status", "sort", "version", "text", "rows", "namespace", "cursor", "limit", "=", "&", "%", "%00",
        "%ff", "é", "'", '"', "<x>", "{{7*7}}", "..", ";", "#", "\\", "a" * 200, "verified", "value", "accuracy",
    ]  # fmt: skip
    for _ in range(80):
        tail = quote("".join(draw.choice(pieces) for _ in range(draw.randrange(1, 8))), safe="%=&?@'\"<>{};+*\\.")
        for path in (f"{SET}?{tail}", f"/evalsets?{tail}", f"/evalsets/team/{tail.replace('?', '')}"):
            answer = anonymous.get(path)
            assert answer.status_code < 500, path
            assert "49" not in re.findall(r">49<", answer.text)
