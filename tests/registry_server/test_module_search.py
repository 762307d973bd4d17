"""Search by what verified modules are; one registry for all tests, pushed to once."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import event

from petapter_registry_server.db.module_search import Condition, _Searched
from petapter_registry_server.services.indexing import Indexing
from tests.registry_server.conftest import Caller, Registry, member_of_team
from tests.registry_server.module_bytes import module_files
from tests.registry_server.varied_modules import Figure, Varied

MODULES = "/api/petapter/v1/modules"
MODERATION = Varied(
    labels=("Toxic", "neutral"),
    languages=("de-AT",),
    description="Finds insults in comments",
    weights="b",
    figures=(
        Figure("macro_f1", 0.74, "GermEval18"),
        Figure("macro_f1", 0.6, "GermEval18", "c"),
        Figure("accuracy", 0.8),
    ),
)
OPINIONS = Varied(
    labels=("neutral", "toxic"),
    languages=("de", "en"),
    backbone="Tiny/Roberta",
    figures=(Figure("macro_f1", 0.71, "germeval18"), Figure("ece", 0.05)),
)
PEFT = {path: data for path, data in module_files().items() if path.startswith(("adapter", "README"))}


@pytest.fixture(scope="module")
def team(shared_registry: Registry) -> Caller:
    """In this order: tickets 1.0.0 and 1.1.0 (yanked), moderation, opinions, a peft adapter, and what is not found."""
    member = member_of_team(shared_registry)
    _publish(member, "team/tickets", Varied())
    _publish(member, "team/tickets", Varied(version="1.1.0", labels=("angry", "calm"), fill=0.1))
    member.call("PUT", f"{MODULES}/team/tickets/versions/1.1.0/yank", json={"reason": "broken"})
    for name, varied in (("team/moderation", MODERATION), ("team/opinions", OPINIONS)):
        member.create(name)
        member.published(name, varied.files())
    member.create("team/adapter")
    member.published("team/adapter", PEFT)
    member.create("team/hidden", private=True)
    member.published("team/hidden", Varied(labels=("secret", "open")).files())
    member.create("team/gone")
    _publish(member, "team/gone", Varied(labels=("gone", "here")))
    member.delete("team/gone")
    member.create("team/withdrawn")
    _publish(member, "team/withdrawn", Varied(labels=("withdrawn", "here")))
    member.call("PUT", f"{MODULES}/team/withdrawn/versions/1.0.0/yank", json={"reason": "broken"})
    member.create("team/plain")
    member.published("team/plain", {"notes.txt": b"1"})
    return member


def _publish(caller: Caller, repo_id: str, varied: Varied) -> None:
    caller.published(repo_id, varied.files())
    tagged = caller.call("POST", f"/api/models/{repo_id}/tag/main", json={"tag": f"v{varied.version}"})
    assert tagged.status_code == 200, tagged.text


def found(caller: Caller, **query: Any) -> list[str]:
    answer = caller.get(MODULES, params=query)
    assert answer.status_code == 200, answer.text
    return [module["id"].removeprefix("team/") for module in answer.json()["modules"]]


def test_everything_is_listed_newest_first(registry: Registry, team: Caller) -> None:
    assert found(team) == ["hidden", "adapter", "opinions", "moderation", "tickets"]


def test_private_modules_are_found_by_their_members_alone(shared_registry: Registry, team: Caller) -> None:
    assert "hidden" not in found(shared_registry.anonymous)
    assert found(shared_registry.anonymous, label="secret") == []
    assert found(team, label="secret") == ["hidden"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"text": "insult"}, ["moderation"]),
        ({"text": "INSULTS comment"}, ["moderation"]),
        ({"text": "team/tick"}, ["tickets"]),
        ({"text": "insults tickets"}, []),
        ({"text": "nsults"}, []),
        ({"label": "very_GOOD"}, ["tickets"]),
        ({"label": ["toxic", "neutral"]}, ["opinions", "moderation"]),
        ({"label": ["toxic", "furious"]}, []),
        ({"label": "toxic", "labels": "exact"}, []),
        ({"label": ["Neutral", "TOXIC"], "labels": "exact"}, ["opinions", "moderation"]),
        ({"label": ["spam", "ham"], "labels": "mappable"}, ["hidden", "opinions", "moderation", "tickets"]),
        ({"label": ["a", "b", "c"], "labels": "mappable"}, []),
        ({"language": "de"}, ["opinions", "moderation"]),
        ({"language": "de-at"}, ["moderation"]),
        ({"language": ["de", "en"]}, ["opinions"]),
        ({"backbone": "tiny/roberta"}, ["opinions"]),
        ({"weights": "b" * 16}, ["moderation"]),
        ({"weights": "b" * 64, "config": "0" * 20}, ["moderation"]),
        ({"weights": "b" * 17 + "0"}, []),
        ({"adapter": "lora", "kind": "peft"}, ["adapter"]),
        ({"kind": "peft", "backbone": "tiny/bert"}, []),
        ({"task": "multi-label"}, []),
        ({"namespace": "TEAM", "text": "tickets"}, ["tickets"]),
        ({"label": "angry"}, []),
        ({"label": "gone"}, []),
        ({"label": "withdrawn"}, []),
        ({"where": "macro_f1@germeval18>=0.7"}, ["opinions", "moderation"]),
        ({"where": "macro_f1@germeval18>=0.72"}, ["moderation"]),
        ({"where": "macro_f1@germeval18#cccccccc>=0.6"}, ["moderation"]),
        ({"where": "macro_f1@germeval18#cccccccc>=0.61"}, []),
        ({"where": "macro_f1>0.74"}, []),
        ({"where": "ece<=0.05"}, ["opinions"]),
        ({"where": ["macro_f1>=0.7", "accuracy>=0.8"]}, ["moderation"]),
        ({"label": ["toxic", "neutral"], "where": "macro_f1@GermEval18>=0.72", "language": "de"}, ["moderation"]),
        ({"where": "macro_f1@germeval18>=0", "sort": "metric"}, ["moderation", "opinions"]),
        ({"where": "macro_f1@germeval18#cccccccc>=0", "sort": "metric"}, ["moderation"]),
        ({"where": "macro_f1@germeval18<=1", "sort": "metric"}, ["moderation", "opinions"]),
        ({"where": "accuracy<0.95", "sort": "metric", "kind": "petapter"}, ["moderation", "tickets", "hidden"]),
        ({"sort": "name", "kind": "petapter"}, ["hidden", "moderation", "opinions", "tickets"]),
        ({"sort": "size", "kind": "peft"}, ["adapter"]),
    ],
    ids=str,
)
def test_search_finds(team: Caller, query: Mapping[str, Any], expected: list[str]) -> None:
    assert found(team, **query) == expected


@pytest.mark.parametrize(
    ("collected", "looked_at"),
    [(1, 5_000), (1, 1), (10_000, 5_000)],
    ids=["order leads", "order leads too far", "rarest condition leads"],
)
@pytest.mark.parametrize(
    "query",
    [
        {"text": "te", "label": ["toxic"]},
        {"language": "de", "where": "macro_f1>=0.7"},
        {"sort": "name", "label": "toxic"},
        {"sort": "metric", "label": "toxic", "where": "macro_f1>=0"},
    ],
    ids=str,
)
def test_every_way_to_search_finds_the_same(
    team: Caller, monkeypatch: pytest.MonkeyPatch, query: Mapping[str, Any], collected: int, looked_at: int
) -> None:
    monkeypatch.setattr("petapter_registry_server.db.module_search.COLLECTED", collected)
    monkeypatch.setattr("petapter_registry_server.db.module_search.LOOKED_AT", looked_at)
    assert sorted(found(team, **query)) == ["moderation", "opinions"]


@pytest.mark.parametrize("looked_at", [1, 2, 5_000])
@pytest.mark.parametrize("sort", ["updated", "name", "size", "metric"])
def test_pages_show_every_module_once(team: Caller, monkeypatch: pytest.MonkeyPatch, sort: str, looked_at: int) -> None:
    monkeypatch.setattr("petapter_registry_server.db.module_search.COLLECTED", 1)
    monkeypatch.setattr("petapter_registry_server.db.module_search.LOOKED_AT", looked_at)
    query = {"sort": sort, "kind": "petapter", "where": "accuracy>=0" if sort != "metric" else "accuracy>=0.5"}
    whole = found(team, **query)
    cursor, paged = None, []
    while cursor is not None or not paged:
        answer = team.get(MODULES, params={**query, "limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        paged += [module["id"].removeprefix("team/") for module in answer["modules"]]
        cursor = answer["next"]
        assert len(answer["modules"]) == 1
    assert (paged, len(whole)) == (whole, 3)


@pytest.mark.parametrize(("labels", "collects"), [(["toxic", "very good"], True), (["toxic", "neutral"], False)])
def test_common_conditions_are_collected_only_where_they_are_rarely_met_together(
    team: Caller, monkeypatch: pytest.MonkeyPatch, labels: list[str], collects: bool
) -> None:
    query = {"sort": "name", "label": labels, "limit": 1}
    names = found(team, **query)
    monkeypatch.setattr("petapter_registry_server.db.module_search.COLLECTED", 1)
    monkeypatch.setattr("petapter_registry_server.db.module_search.LOOKED_AT", 4)
    ways: list[Condition] = []
    led_by = _Searched.led_by
    monkeypatch.setattr(_Searched, "led_by", lambda self, one: ways.append(one) or led_by(self, one))
    assert (found(team, **query), bool(ways)) == (names, collects)


def test_conditions_are_looked_up_for_each_module_and_never_lead(
    shared_registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL makes joins of conditions where it can: it then looked up all modules of a common word."""
    monkeypatch.setattr("petapter_registry_server.db.module_search.COLLECTED", 0)
    engine = shared_registry.app.state.services.module_search._database._engine
    sent: list[tuple[str, Any]] = []

    def note(*event_of: Any) -> None:
        sent.append((event_of[2], event_of[3]))

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert found(team, text="te", language="de", label="toxic", where="macro_f1>=0.7")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    command = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    plans: list[str] = []
    with engine.connect() as connection:
        for statement, values in sent:
            if "EXISTS" in statement:
                rows = connection.exec_driver_sql(f"{command} {statement}", values)
                plans.append("\n".join(str(row[-1]) for row in rows))
    asked = [plan for plan in plans if "SubPlan" in plan or "CORRELATED" in plan]
    assert asked
    assert not [plan for plan in plans if "Semi Join" in plan]


def test_facets_count_what_matches(team: Caller) -> None:
    answer = team.get(MODULES, params={"facet": ["language", "label", "kind"], "limit": 1}).json()
    assert answer["facets"]["kind"] == [{"value": "petapter", "modules": 4}, {"value": "peft", "modules": 1}]
    assert {"value": "en", "modules": 3} in answer["facets"]["language"]
    assert {"value": "toxic", "modules": 2} in answer["facets"]["label"]
    assert (answer["counted"], answer["complete"]) == (5, True)


def test_result_carries_the_facts_of_its_version(team: Caller) -> None:
    (module,) = team.get(MODULES, params={"text": "tickets"}).json()["modules"]
    assert (module["version"], module["revision"]) == ("1.0.0", "v1.0.0")
    facts = module["facts"]
    assert (facts["kind"], facts["labels"], facts["adapter_kind"], facts["patterns"]) == (
        "petapter", ["very good", "poor"], "lora", 1,
    )  # fmt: skip
    assert facts["metrics"][0]["evaluation_set"] == "dev"
    assert facts["size_bytes"] == sum(map(len, Varied().files().values()))
    commit = team.get("/api/models/team/tickets/revision/v1.0.0").json()["sha"]
    assert module["commit"] == commit


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"wehre": "accuracy>=0.8"}, "'wehre' is unknown"),
        ({"where": "accuracy"}, "no bound on a metric"),
        ({"where": "accuracy=>0.8"}, "no bound on a metric"),
        ({"where": "accuracy>=nan"}, "no bound on a metric"),
        ({"where": "accuracy@dev#xyz>=0.8"}, "no bound on a metric"),
        ({"sort": "metric"}, "needs a bound"),
        ({"sort": "likes"}, "sort"),
        ({"labels": "some"}, "labels"),
        ({"weights": "abc"}, "16 to 64 digits"),
        ({"weights": "G" * 16}, "16 to 64 digits"),
        ({"limit": 101}, "limit"),
        ({"cursor": "@@"}, "cursor"),
        ({"cursor": "WzEsMiwzXQ"}, "cursor"),
        ({"facet": "author"}, "facet 'author' is unknown"),
        ({"text": "///"}, "no letter or digit"),
        ({"text": "a\0b"}, "zero byte"),
        ({"text": " ".join(f"w{n}" for n in range(21))}, "too many conditions"),
    ],
    ids=str,
)
def test_question_that_cannot_be_answered_is_a_problem(team: Caller, query: Mapping[str, Any], words: str) -> None:
    answer = team.get(MODULES, params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert words in answer.json()["detail"]


def test_cursor_of_another_order_is_refused(team: Caller) -> None:
    cursor = team.get(MODULES, params={"sort": "name", "limit": 1}).json()["next"]
    assert team.get(MODULES, params={"sort": "size", "cursor": cursor}).status_code == 400


def test_index_can_be_made_again_from_nothing(shared_registry: Registry, team: Caller) -> None:
    tables = ("module_facts", "module_index", "module_terms", "module_metrics")
    before = _rows(shared_registry, tables)
    shared_registry.change(*(f"delete from {table}" for table in tables))  # noqa: S608 (names of tables)
    shared_registry.change("insert into module_terms values ('label:wrong', 1, 1)")
    database_of = shared_registry.app.state.services.indexing._database
    assert Indexing(database_of, shared_registry.store).rebuild() == 5
    assert _rows(shared_registry, tables) == before


def _rows(registry: Registry, tables: tuple[str, ...]) -> dict[str, list[Any]]:
    """All rows but the facts of deleted repositories, which nobody can ask for."""
    gone = registry.rows(
        "select oid from commits join repositories r on r.id = repository_id where deleted_ms is not null"
    )
    rows = {table: registry.rows(f"select * from {table}") for table in tables}  # noqa: S608 (names of tables)
    return {table: sorted((row for row in found if row[:1] not in gone), key=str) for table, found in rows.items()}
