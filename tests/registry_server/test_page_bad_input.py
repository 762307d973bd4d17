"""Bad input to the pages: each gets a page that names the cause, and none is an error of ours."""

import html
import random
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from petapter_registry_server.errors import BlobUnavailableError, DatabaseUnavailableError
from petapter_registry_server.services.showing import MAX_CARD_BYTES, CardText
from petapter_registry_server.settings import Settings
from petapter_registry_server.web.card_markup import card_markup
from petapter_registry_server.web.cards import SHORT_BYTES, Cards, without_metadata
from petapter_registry_server.web.routing import _without_empty
from petapter_schemas.digests import sha256_bytes
from tests.registry_server.browser_caller import Browser, text_of
from tests.registry_server.conftest import Registry, running
from tests.registry_server.page_modules import PageModule, fill, publish
from tests.registry_server.varied_modules import Varied


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(Settings(data=tmp_path_factory.mktemp("pages") / "data")) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def anonymous(registry: Registry) -> Browser:
    return Browser.of(registry, None)


def cause(answer: Any) -> str:
    found = re.search(r'<p class="cause">(.*?)</p>', answer.text, re.DOTALL)
    assert found is not None, answer.text
    return html.unescape(found[1])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("lable=toxic", "parameter 'lable' is unknown"),
        ("where=f1", "'f1' is no bound on a metric"),
        ("where=<script>alert(1)</script>", "is no bound on a metric"),
        ("sort=metric", "sort=metric needs a bound on that metric"),
        ("sort=best", "sort"),
        ("limit=100000", "limit"),
        ("limit=x", "limit"),
        ("cursor=AAAA", "cursor: use the value of 'next' as it is"),
        ("text=%00", "a zero byte is no text"),
        ("text=" + "a" * 501, "text"),
        ("text=%21%21", "there is no letter or digit to look for"),
        ("&".join(f"label=l{number}" for number in range(21)), "label"),
        ("weights=xyz", "weights: give 16 to 64 digits"),
        ("labels=some", "labels"),
        ("%3Cscript%3E=1", "is unknown"),
    ],
)
def test_bad_query_is_named(anonymous: Browser, query: str, said: str) -> None:
    answer = anonymous.get(f"/?{query}")
    assert answer.status_code == 400
    assert said in cause(answer)
    assert "<script>alert" not in answer.text


def test_no_query_and_no_path_is_an_error_of_ours(anonymous: Browser) -> None:
    draw = random.Random(5)  # noqa: S311 (test input)
    pieces = ["text", "label", "where", "cursor", "=", "&", "%", "%00", "%ff", "é", "'", '"', "<x>", "{{7*7}}", "..",
              ";", ">=", "@", "#", "\\", "a" * 200, "revision", "from", "to", "+", "%2F"]  # fmt: skip
    for _ in range(60):
        tail = quote("".join(draw.choice(pieces) for _ in range(draw.randrange(1, 8))), safe="%=&?@'\"<>{};+*\\.")
        for path in (
            f"/?{tail}",
            f"/team/tickets?{tail}",
            f"/team/tickets/compare?from={tail}",
            f"/{tail.replace('?', '')}",
        ):
            answer = anonymous.get(path, follow_redirects=False)
            assert answer.status_code < 500, path
            assert "49" not in re.findall(r"\{\{.*?\}\}|>49<", answer.text)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/team/tickets?revision=v9.9.9", 404, "Invalid rev id: v9.9.9"),
        ("/team/tickets?revision=%00", 404, "Invalid rev id"),
        ("/team/tickets?revision=" + "a" * 201, 400, "revision"),
        ("/team/tickets/compare?from=none&to=main", 404, "Invalid rev id: none"),
        ("/team?cursor=%FF", 400, "cursor"),
        ("/web/tokens/0/revoke", 405, "GET /web/tokens/0/revoke is not a route"),
        ("/team/tickets/nothing-here", 404, "is not a route of this registry"),
        ("/t\u0435am/tickets", 401, "Repository not found"),  # a Cyrillic letter
        ("/team/tick\u0435ts", 401, "Repository not found"),
        ("/\uff54eam", 404, "there is no user or organisation"),
        ("/t3am", 404, "there is no user or organisation"),
        ("/team/t1ckets", 401, "Repository not found"),
        ("/team/%2E%2E", 401, "Repository not found"),
        ("/team/%E2%80%AEtickets", 401, "Repository not found"),
    ],
)
def test_bad_address_is_named(anonymous: Browser, path: str, status: int, said: str) -> None:
    answer = anonymous.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status
    assert said in cause(answer)


def test_address_of_the_api_that_is_missing_answers_as_the_api_does(registry: Registry) -> None:
    assert registry.anonymous.get("/api/nowhere").json() == {
        "error": "GET /api/nowhere is not a route of this registry"
    }
    for path in ("/datasets/a/b", "/spaces/a/b"):
        assert registry.anonymous.get(path, headers={"accept": "text/html"}).status_code in {401, 404}


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RuntimeError("a secret"), 500, "internal error: the server's log has the details"),
        (DatabaseUnavailableError(), 503, "the registry's database does not answer: try again in a moment"),
        (BlobUnavailableError("petapter.json"), 500, "the stored bytes of petapter.json are damaged or missing"),
    ],
)
def test_error_of_ours_is_a_page_too(
    registry: Registry, anonymous: Browser, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, said: str
) -> None:
    def fail(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(registry.app.state.services.showing, "module", fail)
    answer = anonymous.get("/team/tickets", headers={"accept": "text/html"})
    assert answer.status_code == status
    assert said in cause(answer)
    assert "a secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("path", ["/team/tickets", "/api/petapter/v1/modules", "/api/models/team/tickets"])
def test_what_nobody_foresaw_has_the_id_of_its_request(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fail(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("nobody foresaw this")

    services = registry.app.state.services
    for service, name in (
        (services.showing, "module"),
        (services.module_search, "search"),
        (services.reading, "model"),
    ):
        monkeypatch.setattr(service, name, fail)
    answer = registry.anonymous.get(path, headers={"X-Request-Id": "seen-here"})
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (500, "seen-here")


def test_form_with_too_many_fields_or_bytes_is_refused(registry: Registry) -> None:
    ada = Browser.of(registry, registry.caller("ada").token)
    many = ada.post("/web/tokens", {f"f{number}": "x" for number in range(60)})
    assert many.status_code == 400
    assert "the form has more than 50 fields" in cause(many)
    assert ada.post("/web/tokens", {"name": "x" * (5 << 20)}).status_code == 413


NESTED = {
    "quotes": ">" * 200 + " x\n",
    "lists": "- " * 200 + "x\n",
    "brackets": "[" * 200,
    "stars": "*a _b " * 30,
    "elements": "<div>" * 50 + "\n",
    "ticks": "`a``b" * 40,
}


@pytest.mark.parametrize("kind", NESTED)
def test_quarter_of_a_megabyte_of_nested_markup_is_shown_or_left_for_downloading(registry: Registry, kind: str) -> None:
    """It never takes the server longer than the budget, and the page is there either way."""
    cards = Cards(max_seconds=0.2)
    registry.app.state.cards, kept = cards, registry.app.state.cards
    try:
        text = (NESTED[kind] * (MAX_CARD_BYTES // len(NESTED[kind])))[: MAX_CARD_BYTES - 200]
        ada = registry.caller("ada")
        name = f"team/nested-{kind}"
        assert ada.create(name).status_code == 200
        publish(ada, name, "1.0.0", PageModule(Varied(fill=len(kind) / 10), f"---\nlicense: mit\n---\n{text}").files())
        answer = Browser.of(registry, None).get(f"/{name}")
        assert answer.status_code == 200
        said = text_of(answer)
        assert (
            "The card takes too long to be shown: download README.md ." in said or '<div class="card">' in answer.text
        )
    finally:
        registry.app.state.cards = kept


def test_long_card_is_rendered_in_a_process_of_its_own_once() -> None:
    text = "# A title\n\n" + "word **strong** \n\n" * (SHORT_BYTES // 10)
    card = CardText(sha256_bytes(text.encode()), text)
    cards = Cards(max_seconds=120)
    assert cards.render(card) == card_markup(text)
    monkey = CardText(card.sha256, "not looked at again")
    assert cards.render(monkey) == card_markup(text)


def test_card_that_takes_too_long_is_none() -> None:
    text = "[" * MAX_CARD_BYTES
    assert Cards(max_seconds=0.01).render(CardText("x", text)) is None


PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))", "[a](&#106;avascript:alert(1))", "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)", "<javascript:alert(1)>", "![a](javascript:alert(1))", '![a](x "onerror=alert(1)")',
    '[a](x "onclick=alert(1)")', "<iframe src=//e></iframe>", "<a href=javascript:alert(1)>x</a>",
    "```html\n<script>alert(1)</script>\n```", "`<img src=x onerror=alert(1)>`", "<style>*{display:none}</style>",
    "<base href=//e>", "<form action=//e><input></form>", "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "[a]: javascript:alert(1)\n[a]", "<details open ontoggle=alert(1)>", "<!--><script>alert(1)</script>-->",
    "| <img src=x onerror=alert(1)> | b |\n|-|-|\n", "[\u202ea](https://e)", "<object data=x></object>",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markup_runs_nothing(payload: str) -> None:
    made = card_markup(payload)
    elements = re.findall(r"<\s*/?\s*([a-z0-9]+)([^>]*)>", made)
    assert {name for name, _ in elements} <= {
        "a", "p", "code", "pre", "h3", "table", "thead", "tbody", "tr", "th", "td", "div", "em", "strong",
    }  # fmt: skip
    for _, attributes in elements:
        assert not re.search(r"\son\w+\s*=", re.sub(r'"[^"]*"', '""', attributes))
        for address in re.findall(r'href="([^"]*)"', attributes):
            assert address.startswith(("http:", "https:", "mailto:")) or ":" not in address


def test_metadata_of_a_card_is_not_shown() -> None:
    assert without_metadata("---\na: b\n---\n# T\n") == "# T\n"
    assert without_metadata("# T\n---\n") == "# T\n---\n"
    assert without_metadata("---\nnever closed") == "---\nnever closed"
    assert without_metadata("") == ""


def test_empty_fields_say_nothing() -> None:
    assert _without_empty(b"text=&label=a&where=") == b"label=a"
    assert _without_empty(b"text=a%20b&x=%C3%A9&y=") == b"text=a+b&x=%C3%A9"
    assert _without_empty(b"text=a%20b") == b"text=a%20b"
