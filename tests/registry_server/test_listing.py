import pytest

from petapter_registry_server.api.hub import models
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


def parameters_of(caller: Caller) -> int:
    facts = caller.get("/api/petapter/v1/modules/team/tickets").json()["shown"]["facts"]
    count: int = facts["parameters"]
    assert count > 1
    return count


@pytest.mark.parametrize(
    ("bounds", "is_found"),
    [("min:{0}", True), ("max:{0}", True), ("min:{0},max:{0}", True), ("MIN:{1}", False), ("max:0.0001K", False),
     ("max:1M", True), ("min:1b", False), ("max:99999999T", True)],
)  # fmt: skip
def test_list_is_bounded_by_parameters_that_tensors_have(three: Caller, bounds: str, is_found: bool) -> None:
    count = parameters_of(three)
    found = ids(three, f"?num_parameters={bounds.format(count, count + 1)}")
    assert found == (["team/tickets"] if is_found else [])


@pytest.mark.parametrize(
    "query", ["?apps=ollama", "?apps=vllm&apps=ollama", "?inference=warm", "?inference_provider=all"]
)
def test_nothing_here_runs_in_the_hubs_apps(three: Caller, query: str) -> None:
    assert ids(three, query) == []


def test_what_trends_is_what_is_downloaded_and_nothing_is_liked(three: Caller) -> None:
    assert ids(three, "?sort=trendingScore") == ids(three, "?sort=downloads")
    assert ids(three, "?sort=likes&direction=-1") == ids(three, "?sort=createdAt")


def test_page_with_files_is_shorter(three: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_MAX_PAGE_OF_TREES", 2)
    assert len(ids(three, "?limit=3")) == 3
    first = three.get("/api/models?limit=3&full=true")
    second = three.get(first.links["next"]["url"])
    assert [len(page.json()) for page in (first, second)] == [2, 1]


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
    [
        "?sort=stars",
        "?gated=auto",
        "?num_parameters=6B",
        "?num_parameters=min:1,min:2",
        "?num_parameters=max:1e3",
        "?limit=0",
        "?cursor=x",
        "?expand=x",
        "?search=%00",
    ],
)
def test_question_that_cannot_be_answered_is_400(shared_registry: Registry, query: str) -> None:
    answer = shared_registry.anonymous.get(f"/api/models{query}")
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
