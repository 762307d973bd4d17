import pytest

from tests.registry_server.conftest import Caller, Registry, member_of_team
from tests.registry_server.module_bytes import module_files

GERMAN = "---\nlibrary_name: peft\nlanguage: de\npipeline_tag: fill-mask\ntags: [petapter, 'label:spam']\n---\n"


@pytest.fixture(scope="module")
def three(shared_registry: Registry) -> Caller:
    """`team/tickets` (a module), `team/mail` (a German card) and `ada/empty`, pushed in this order."""
    team = member_of_team(shared_registry)
    team.published("team/tickets", module_files())
    team.create("team/mail")
    team.published("team/mail", {"README.md": GERMAN.encode()})
    team.create("ada/empty")
    return team


def ids(caller: Caller, query: str = "") -> list[str]:
    return [model["id"] for model in caller.get(f"/api/models{query}").json()]


def test_list_is_newest_first(three: Caller) -> None:
    assert ids(three) == ["ada/empty", "team/mail", "team/tickets"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?author=TEAM", ["team/mail", "team/tickets"]),
        ("?filter=petapter", ["team/mail", "team/tickets"]),
        ("?filter=petapter&filter=en", ["team/tickets"]),
        ("?filter=label:very%20good", ["team/tickets"]),
        ("?filter=license:apache-2.0", ["team/tickets"]),
        ("?filter=base_model:adapter:tiny/bert", ["team/tickets"]),
        ("?filter=nothing", []),
        ("?pipeline_tag=fill-mask", ["team/mail"]),
        ("?search=TICK", ["team/tickets"]),
        ("?search=helpdesk", ["team/tickets"]),
        ("?search=Very%20Good", ["team/tickets"]),
        ("?search=team&search=spam", ["team/mail"]),
        ("?search=%25", []),
        ("?sort=createdAt&limit=2", ["ada/empty", "team/mail"]),
    ],
)
def test_filter_and_search(three: Caller, query: str, found: list[str]) -> None:
    assert ids(three, query) == found


def test_pages_follow_the_link_header(three: Caller) -> None:
    answer = three.get("/api/models?limit=2&filter=petapter")
    assert "next" in answer.links
    assert ids(three, answer.links["next"]["url"].partition("/api/models")[2]) == []
    first = three.get("/api/models?limit=1")
    assert first.links["next"]["url"].startswith("http://registry.test/api/models?limit=1&cursor=")
    assert [m["id"] for m in three.get(first.links["next"]["url"]).json()] == ["team/mail"]


def test_full_adds_files_and_card(three: Caller) -> None:
    plain = three.get("/api/models?search=mail").json()[0]
    full = three.get("/api/models?search=mail&full=True").json()[0]
    assert "siblings" not in plain
    assert "cardData" not in plain
    assert full["cardData"]["language"] == "de"
    assert {"rfilename": "README.md"} in full["siblings"]
    assert "cardData" in three.get("/api/models?search=mail&cardData=true").json()[0]


def test_expand_in_a_list_shows_only_what_is_named(three: Caller) -> None:
    listed = three.get("/api/models?author=ada&expand[]=sha&expand[]=siblings").json()
    assert listed == [
        {
            "_id": "ada/empty",
            "id": "ada/empty",
            "sha": three.head("ada/empty"),
            "siblings": [{"rfilename": ".gitattributes"}],
        }
    ]


@pytest.mark.parametrize(
    "query",
    ["?sort=likes", "?gated=true", "?num_parameters=min:6B", "?limit=0", "?cursor=x", "?expand=x", "?search=%00"],
)
def test_question_that_cannot_be_answered_is_400(shared_registry: Registry, query: str) -> None:
    answer = shared_registry.anonymous.get(f"/api/models{query}")
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
