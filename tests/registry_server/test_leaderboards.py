"""Leaderboards: measured stands before declared, ranks know chance, and nobody sees what is not theirs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.settings import Settings
from tests.registry_server import measured_modules
from tests.registry_server.conftest import Caller, NewBacking, Registry, member_of_team, running
from tests.registry_server.evaluation_data import NATIVE, ROWS, measure, published_set, spec_of
from tests.registry_server.page_modules import publish
from tests.registry_server.varied_modules import Figure, Varied

BOARD = f"{NATIVE}/team/tickets-2024/leaderboard"
ON = Figure("accuracy", 0.0, "whatever it is called", spec_of().rows_sha256, n=len(ROWS), half=0.02)


def add(caller: Caller, name: str, *figures: Figure, private: bool = False, version: str = "1.0.0") -> None:
    """Publish a module that declares figures."""
    if version == "1.0.0":
        assert caller.create(name, private=private).status_code == 200
    fill = sum(map(ord, name + version)) / 1e4
    publish(caller, name, version, Varied(version=version, fill=fill, figures=figures).files())


def at(value: float, **others: Any) -> Figure:
    return replace(ON, value=value, **others)


@pytest.fixture(scope="module")
def filled(new_backing: NewBacking, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with new_backing() as fresh, running(fresh.settings(tmp_path_factory.mktemp("board") / "data")) as registry:
        ada = member_of_team(registry)
        published_set(ada, "team")
        add(ada, "team/boaster", at(0.99, status="verified"))
        add(ada, "team/modest", at(0.70))
        add(ada, "team/near", at(0.985), at(0.1))
        add(ada, "team/checked", at(0.90))
        add(ada, "team/close", at(0.89))
        add(ada, "team/worse", at(0.60))
        add(ada, "team/again", at(0.95))
        add(ada, "team/doubtful", at(0.97))
        add(ada, "team/secret", at(0.96), private=True)
        add(ada, "team/elsewhere", at(0.98, digest="b"))
        add(ada, "team/contradicting", at(0.98, n=99))
        add(ada, "team/losses", at(0.2, metric="log_loss"))
        add(ada, "team/losses-too", at(0.9, metric="log_loss"))
        for name, status, value in (
            ("checked", "verified", 0.90), ("close", "verified", 0.89), ("worse", "verified", 0.60),
            ("again", "reproduced", 0.95), ("doubtful", "disputed", 0.5),
        ):  # fmt: skip
            measure(registry, f"team/{name}", ON.digest, status, accuracy=value)
        yield registry


def board(caller: Caller, query: str = "") -> dict[str, Any]:
    answer = caller.get(f"{BOARD}?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def order(shown: dict[str, Any]) -> list[tuple[str, str, int | None]]:
    return [(line["id"].removeprefix("team/"), line["status"], line["rank"]) for line in shown["lines"]]


def test_measured_figures_stand_before_declared_ones_whatever_these_claim(filled: Registry) -> None:
    shown = board(filled.anonymous)
    assert (shown["metric"], shown["sort"], shown["complete"]) == ("accuracy", "standing", True)
    assert order(shown) == [
        ("checked", "verified", 1),
        ("close", "verified", 1),
        ("worse", "verified", 3),
        ("again", "reproduced", 1),
        ("boaster", "declared", 1),
        ("near", "declared", 1),
        ("modest", "declared", 3),
        ("doubtful", "disputed", None),
    ]
    assert [line["tied"] for line in shown["lines"]] == [True, True, False, False, True, True, False, False]


def test_a_line_says_who_measured_what_when_and_how_sure_it_is(filled: Registry) -> None:
    first, *_, last = board(filled.anonymous, "status=verified")["lines"]
    assert (first["by"], first["at"], first["declared"]) == ("worker-1", "2023-11-14T22:13:20.000Z", 0.9)
    assert (first["value"], first["low"], first["high"], first["level"], first["n"]) == (0.9, 0.88, 0.92, 0.95, 8)
    assert (first["version"], first["revision"]) == ("1.0.0", "v1.0.0")
    assert last["id"] == "team/worse"
    (declared, *_) = board(filled.anonymous, "status=declared")["lines"]
    assert (declared["by"], declared["declared"]) == ("ada", None)


def test_a_sort_by_value_mixes_who_asks_for_it(filled: Registry) -> None:
    shown = board(filled.anonymous, "sort=value")
    assert order(shown)[:5] == [
        ("boaster", "declared", 1), ("near", "declared", 1), ("again", "reproduced", 3), ("checked", "verified", 4),
        ("close", "verified", 4),
    ]  # fmt: skip
    assert order(board(filled.anonymous, "sort=name"))[:2] == [("again", "reproduced", 1), ("boaster", "declared", 1)]
    assert order(board(filled.anonymous, "sort=updated"))[0][1] == "declared"


def test_figures_are_chosen_by_status_and_metric(filled: Registry) -> None:
    assert {status for _, status, _ in order(board(filled.anonymous, "status=verified&status=disputed"))} == {
        "verified", "disputed",
    }  # fmt: skip
    losses = board(filled.anonymous, "metric=log_loss")
    assert losses["higher_is_better"] is False
    assert order(losses) == [("losses", "declared", 1), ("losses-too", "declared", 2)]
    assert losses["metrics"] == [{"metric": "accuracy", "modules": 9}, {"metric": "log_loss", "modules": 2}]


def test_figures_that_name_another_number_of_rows_are_left_out_and_counted(filled: Registry) -> None:
    shown = board(filled.anonymous)
    assert shown["contradicting"] == 1
    assert "contradicting" not in {name for name, _, _ in order(shown)}


def test_private_modules_are_for_those_who_may_see_them(filled: Registry) -> None:
    assert "secret" not in {name for name, _, _ in order(board(filled.anonymous))}
    assert "secret" in {name for name, _, _ in order(board(filled.admin))}
    assert "secret" not in {name for name, _, _ in order(board(filled.caller("eve")))}


def test_fewer_lines_are_the_best_and_say_so(filled: Registry) -> None:
    shown = board(filled.anonymous, "limit=2")
    assert [name for name, _, _ in order(shown)] == ["checked", "close"]
    assert shown["complete"] is False


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("metrik=a", "parameter 'metrik' is unknown"),
        ("metric=f1", "metric 'f1': no module has a figure of it on these rows; use accuracy, log_loss"),
        ("metric=%00", "no module has a figure of it"),
        ("status=good", "status 'good' is unknown: use verified, reproduced, declared, disputed"),
        ("sort=best", "sort"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("&".join(["status=verified"] * 11), "status"),
    ],
)
def test_a_bad_question_is_named(filled: Registry, query: str, said: str) -> None:
    answer = filled.anonymous.get(f"{BOARD}?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_a_set_that_nobody_was_measured_on_has_an_empty_board(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        ada = member_of_team(registry)
        published_set(ada, "team")
        shown = board(ada)
        assert (shown["metric"], shown["lines"], shown["metrics"]) == (None, [], [])
        assert "there is no figure at all" in ada.get(f"{BOARD}?metric=accuracy").json()["detail"]


def test_of_a_measured_module_a_newer_version_is_declared_until_it_is_measured(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        ada = member_of_team(registry)
        published_set(ada, "team")
        add(ada, "team/two", at(0.8))
        measure(registry, "team/two", ON.digest, "verified", accuracy=0.8)
        add(ada, "team/two", at(0.9), version="1.1.0")
        lines = board(ada)["lines"]
        assert [(line["version"], line["status"]) for line in lines] == [("1.0.0", "verified"), ("1.1.0", "declared")]
        measure(registry, "team/two", ON.digest, "verified", accuracy=0.9)
        assert [(line["version"], line["status"]) for line in board(ada)["lines"]] == [("1.1.0", "verified")]
        ada.call("PUT", "/api/petapter/v1/modules/team/two/versions/1.1.0/yank", json={"reason": "broken"})
        assert [(line["version"], line["status"]) for line in board(ada)["lines"]] == [("1.0.0", "verified")]
        ada.delete("team/two")
        assert board(ada)["lines"] == []


def test_what_the_key_of_a_worker_signed_counts_no_more_when_it_is_revoked(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        ada = member_of_team(registry)
        published_set(ada, "team")
        add(ada, "team/one", at(0.8))
        measure(registry, "team/one", ON.digest, "verified", accuracy=0.8)
        key = "INSERT INTO worker_keys (sha256, name, public_key, created_ms, revoked_ms) VALUES"
        registry.change(f"{key} ('{'0' * 64}', 'worker-1', 'x', 1, NULL)")
        assert order(board(ada)) == [("one", "verified", 1)]
        registry.change("UPDATE worker_keys SET revoked_ms = 2")
        assert order(board(ada)) == [("one", "declared", 1)]


def test_what_a_worker_measures_and_signs_is_on_the_board(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        ada = member_of_team(registry)
        published_set(ada, "team", measured_modules.ROWS, name="reviews")
        measured_modules.published(ada)
        address = f"{NATIVE}/team/reviews/leaderboard?metric=accuracy"
        measured_modules.asked(ada)
        assert [line["status"] for line in ada.get(address).json()["lines"]] == ["declared"]
        crew = measured_modules.Crew.of(registry, tmp_path)
        tools = crew.tools(measured_modules.program({"accuracy": 0.9, "macro_f1": 0.7}))
        assert crew.worker(tools).run_one()
        (line,) = ada.get(address).json()["lines"]
        assert (line["status"], line["value"], line["by"], line["rank"]) == ("verified", 0.9, "bench", 1)
        (line,) = ada.get(address.replace("accuracy", "macro_f1")).json()["lines"]
        assert (line["status"], line["declared"], line["rank"]) == ("disputed", 0.85, None)
