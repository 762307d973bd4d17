"""Batching with real engines and threads; what has to happen at a moment is held by events, never by sleeping."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from petapter import Backbone, Engine, ModuleInfo, Prediction, TrainedModule, save_module
from petapter.runtime import Batcher, BatchLimits, BatchReport
from petapter.runtime.batching import Answer
from petapter.task.encoding import Fields
from petapter_schemas.errors import (
    BackboneMismatchError,
    BusyError,
    ClosedError,
    DigestMismatchError,
    InputError,
    NotLoadedError,
)
from tests.petapter.conftest import BackboneOf
from tests.petapter.runtime.conftest import TEXTS, assert_same, inputs
from tests.petapter.runtime.held_engine import WAIT_S, HeldEngine, Start


@pytest.fixture
def engine(bert: Backbone) -> Iterator[HeldEngine]:
    with HeldEngine(bert) as engine:
        yield engine


def said(answers: "Sequence[Answer[str]]") -> list[Prediction]:
    return [answer.prediction for answer in answers]


def test_answers_are_those_of_each_module_alone(start: Start, alone: dict[str, list[Prediction]]) -> None:
    batcher = start(*alone)
    futures = {alias: batcher.submit([(alias, text) for text in inputs(alias)]) for alias in alone}
    for alias, future in futures.items():
        answers = future.result(WAIT_S)
        assert_same(said(answers), alone[alias])
        assert {answer.about for answer in answers} == {alias}


def test_what_arrives_while_a_batch_runs_is_one_batch_of_all_callers(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", "plain")
    with engine.held(batcher, "mood"):
        futures = [batcher.submit([(alias, text)]) for text in TEXTS for alias in ("mood", "plain")]
    assert all(future.result(WAIT_S) for future in futures)
    assert engine.sizes == [1, 2 * len(TEXTS)]


def test_a_call_larger_than_a_batch_comes_back_in_order(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", limits=BatchLimits(texts=4))
    texts = TEXTS * 3
    with engine.held(batcher, "mood"):
        future = batcher.submit([("mood", text) for text in texts])
    batcher.close()
    expected = engine.predict([("mood", text) for text in texts])
    assert_same(said(future.result(WAIT_S)), expected)
    assert engine.sizes[:-1] == [1, 4, 4, 4, 4, 2]


def test_long_texts_make_smaller_batches(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", limits=BatchLimits(characters=100))
    with engine.held(batcher, "mood"):
        futures = [batcher.submit([("mood", "good " * count)]) for count in (10, 10, 40, 1)]
    assert all(future.result(WAIT_S) for future in futures)
    assert engine.sizes == [1, 2, 1, 1]


def test_threads_that_ask_at_once_get_their_own_answers(start: Start, alone: dict[str, list[Prediction]]) -> None:
    batcher = start("mood", "topic", limits=BatchLimits(texts=5))

    def ask(turn: int) -> tuple[str, list[Prediction]]:
        alias = ("mood", "topic")[turn % 2]
        return alias, said(batcher.submit([(alias, text) for text in inputs(alias)]).result(WAIT_S))

    with ThreadPoolExecutor(8) as pool:
        for alias, answers in pool.map(ask, range(40)):
            assert_same(answers, alone[alias])


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (("nobody", "good"), NotLoadedError, "'nobody'"),
        (("topic", {"title": "news"}), InputError, "'body' is missing"),
    ],
)
def test_a_bad_request_fails_its_own_caller_alone(
    start: Start, engine: HeldEngine, request_: tuple[str, Fields], error: type[Exception], words: str
) -> None:
    batcher = start("mood", "topic")
    with engine.held(batcher, "mood"):
        before = batcher.submit([("mood", "good")])
        bad = batcher.submit([("mood", "good"), request_, ("mood", "bad")])
        after = batcher.submit([("mood", "bad")])
    with pytest.raises(error, match=words):
        bad.result(WAIT_S)
    assert before.result(WAIT_S)
    assert after.result(WAIT_S)


def test_half_a_character_is_refused_before_it_reaches_a_batch(start: Start) -> None:
    with pytest.raises(InputError, match="half a character"):
        start("mood").submit([("mood", "good \ud83d")])


def test_only_callers_with_failed_texts_left_do_not_end_the_thread(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", limits=BatchLimits(texts=2))
    with engine.held(batcher, "mood"):
        bad = batcher.submit([("nobody", "good")] * 5)
    with pytest.raises(NotLoadedError):
        bad.result(WAIT_S)
    assert batcher.submit([("mood", "good")]).result(WAIT_S)


def test_a_module_that_breaks_fails_its_callers_and_the_thread_goes_on(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", "topic")
    number = engine._modules["topic"].number
    head = engine._runner._heads.pop(number)  # as a bug would
    with engine.held(batcher, "mood"):
        good, bad = batcher.submit([("mood", "good")]), batcher.submit([("topic", {"title": "a", "body": "b"})])
    assert good.result(WAIT_S)
    with pytest.raises(KeyError):
        bad.result(WAIT_S)
    assert batcher.submit([("mood", "good")]).result(WAIT_S)
    engine._runner._heads[number] = head


def test_a_full_queue_refuses_and_says_when_to_come_again(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", limits=BatchLimits(waiting=3))
    batcher.submit([("mood", "good")]).result(WAIT_S)
    with engine.held(batcher, "mood"):
        waiting = batcher.submit([("mood", "good")] * 3)
        assert batcher.waiting == 3
        with pytest.raises(BusyError, match="3 texts wait") as refused:
            batcher.submit([("mood", "good")])
    assert refused.value.retry_after_s >= 1
    assert len(waiting.result(WAIT_S)) == 3
    assert batcher.submit([("mood", "good")]).result(WAIT_S)


def test_more_texts_than_may_ever_wait_are_refused_for_good(start: Start) -> None:
    with pytest.raises(InputError, match="send fewer"):
        start("mood", limits=BatchLimits(waiting=3)).submit([("mood", "good")] * 4)


def test_nothing_asked_is_nothing_answered(start: Start) -> None:
    assert start("mood").submit([]).result(0) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="1 or more"):
        BatchLimits(texts=0)


def test_opening_does_not_stop_the_answers(start: Start, saved: dict[str, Path]) -> None:
    batcher = start("mood")
    with batcher._opening:  # as if another directory were being opened for long
        loading = threading.Thread(target=lambda: batcher.load("topic", saved["topic"], about="topic"))
        loading.start()
        assert batcher.submit([("mood", "good")]).result(WAIT_S)
        assert list(batcher.modules) == ["mood"]
    loading.join(WAIT_S)
    assert list(batcher.modules) == ["mood", "topic"]


def test_another_module_takes_the_alias_between_two_batches(
    start: Start, engine: HeldEngine, saved: dict[str, Path], alone: dict[str, list[Prediction]]
) -> None:
    batcher = start("mood")
    with engine.held(batcher, "mood") as running, ThreadPoolExecutor(1) as pool:
        change = pool.submit(batcher.load, "mood", saved["twin"], about="second")
        while not batcher._turns:  # until it stands behind the batch that runs
            assert not change.done()
        later = batcher.submit([("mood", text) for text in TEXTS])
        engine.let_go.set()
        assert change.result(WAIT_S)
    assert running.result(WAIT_S)[0].about == "mood"
    answers = later.result(WAIT_S)
    assert {answer.about for answer in answers} == {"second"}
    assert {answer.prediction.alias for answer in answers} == {"mood"}
    expected = [prediction.probabilities for prediction in alone["twin"]]
    assert [answer.prediction.probabilities for answer in answers] == [
        pytest.approx(probabilities, abs=1e-5) for probabilities in expected
    ]
    assert batcher.stats().modules == 1


def test_an_alias_can_be_replaced_again_and_again(start: Start, saved: dict[str, Path]) -> None:
    batcher = start("mood")
    for turn in range(5):
        assert batcher.load("mood", saved["twin" if turn % 2 else "mood"], about=str(turn))
        assert batcher.submit([("mood", "good")]).result(WAIT_S)[0].about == str(turn)
    assert batcher.stats().modules == 1


def test_a_load_that_fails_leaves_the_old_module(
    start: Start, saved: dict[str, Path], tmp_path: Path, modules: dict[str, TrainedModule]
) -> None:
    batcher = start("mood")
    before = batcher.submit([("mood", text) for text in TEXTS]).result(WAIT_S)
    save_module(modules["twin"], tmp_path / "damaged", ModuleInfo("damaged"))
    weights = tmp_path / "damaged" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DigestMismatchError):
        batcher.load("mood", tmp_path / "damaged", about="damaged")
    with pytest.raises(InputError, match="patterns"):
        batcher.load("mood", saved["twin"], about="twin", patterns=(7,))
    assert batcher.submit([("mood", text) for text in TEXTS]).result(WAIT_S) == before
    assert batcher.stats().modules == 1


def test_a_module_of_another_backbone_is_refused(
    start: Start, tmp_path: Path, backbone_of: BackboneOf, bert: Backbone, saved: dict[str, Path]
) -> None:
    with Engine(backbone_of("other-bert")) as engine, Batcher[str](engine, backbone_of("other-bert")) as batcher:
        with pytest.raises(BackboneMismatchError):
            batcher.load("mood", saved["mood"], about="mood")
        assert batcher.modules == {}


def test_one_pattern_of_a_module_can_be_asked(start: Start, bert: Backbone, saved: dict[str, Path]) -> None:
    batcher = start()
    batcher.load("topic", saved["topic"], about="second pattern", patterns=(1,), check=True)
    found = said(batcher.submit([("topic", text) for text in inputs("topic")]).result(WAIT_S))
    batcher.close()
    engine = batcher._engine
    engine.load(saved["topic"], "expected", patterns=(1,))
    expected = engine.predict([("expected", text) for text in inputs("topic")])
    assert [one.probabilities for one in found] == [one.probabilities for one in expected]


def test_loading_through_the_batcher_is_loading_the_directory(
    start: Start, engine: HeldEngine, saved: dict[str, Path]
) -> None:
    batcher = start(*saved)
    batcher.close()
    for alias, directory in saved.items():
        engine.load(directory, f"{alias} again")
        first, again = (engine.predict([(name, text) for text in inputs(alias)]) for name in (alias, f"{alias} again"))
        assert [one.probabilities for one in first] == [one.probabilities for one in again]


def test_an_unloaded_module_answers_no_more(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood", "plain")
    batcher.unload("mood")
    assert list(batcher.modules) == ["plain"]
    assert batcher.stats().modules == 1
    with pytest.raises(NotLoadedError):
        batcher.submit([("mood", "good")]).result(WAIT_S)
    with pytest.raises(NotLoadedError):
        batcher.unload("mood")
    assert batcher.submit([("plain", "good")]).result(WAIT_S)


def test_closing_answers_what_was_taken_and_refuses_the_rest(
    start: Start, engine: HeldEngine, saved: dict[str, Path]
) -> None:
    batcher = start("mood", limits=BatchLimits(texts=2))
    with engine.held(batcher, "mood") as running:
        waiting = batcher.submit([("mood", text) for text in TEXTS])
        batcher.refuse()
        with pytest.raises(ClosedError):
            batcher.submit([("mood", "good")])
        with pytest.raises(ClosedError):
            batcher.load("topic", saved["topic"], about="topic")
        with pytest.raises(ClosedError):
            batcher.stats()
    batcher.close()
    assert running.done()
    assert len(waiting.result(0)) == len(TEXTS)
    assert not batcher._thread.is_alive()


def test_abandoning_fails_what_waits_and_keeps_what_runs(start: Start, engine: HeldEngine) -> None:
    batcher = start("mood")
    with engine.held(batcher, "mood") as running:
        waiting = batcher.submit([("mood", text) for text in TEXTS])
        assert batcher.abandon() == len(TEXTS)
        with pytest.raises(ClosedError):
            waiting.result(0)
    batcher.close()
    assert running.result(0)


def test_batches_are_reported(start: Start, engine: HeldEngine) -> None:
    heard: list[BatchReport] = []
    batcher = start("mood", on_batch=heard.append)
    with engine.held(batcher, "mood"):
        batcher.submit([("mood", text) for text in TEXTS])
    batcher.close()
    assert [report.texts for report in heard] == [1, len(TEXTS)]
    assert all(report.seconds > 0 for report in heard)


def test_a_bug_outside_of_the_engine_leaves_nobody_waiting(
    start: Start, engine: HeldEngine, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_report: BatchReport) -> None:
        raise RuntimeError("a bug")

    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    batcher = start("mood", on_batch=fail)
    with engine.held(batcher, "mood"):
        waiting = batcher.submit([("mood", "good")])
    with pytest.raises(ClosedError):
        waiting.result(WAIT_S)
    batcher.close()
    assert len(ended) == 1
    assert not batcher.is_open


def test_an_ensemble_answers_as_its_members_together(start: Start, saved: dict[str, Path], engine: HeldEngine) -> None:
    batcher = start("mood")
    members = {"0": saved["mood"], "1": saved["twin"]}
    assert not batcher.load_ensemble("both", members, about="both", weights=[1, 3])
    assert batcher.load_ensemble("mood", members, about="mood", weights=[1, 3])
    assert batcher.resident() == {"both", "mood"}
    found = said(batcher.submit([(alias, text) for alias in ("both", "mood") for text in TEXTS]).result(WAIT_S))
    batcher.unload("both")
    batcher.close()
    engine.load_ensemble(members, "expected", [1, 3])
    expected = [one.probabilities for one in engine.predict([("expected", text) for text in TEXTS])]
    assert [one.probabilities for one in found] == expected * 2
    assert {one.alias for one in found} == {"both", "mood"}


def test_modules_without_room_on_the_device_are_told_apart(bert: Backbone, saved: dict[str, Path]) -> None:
    with Engine(bert, module_bytes=1) as engine, Batcher[str](engine, bert) as batcher:
        for alias in ("mood", "plain"):
            batcher.load(alias, saved[alias], about=alias)
        assert batcher.resident() == {"plain"}
        batcher.submit([("mood", "good")]).result(WAIT_S)
        assert batcher.resident() == {"mood"}
