"""Loads in pieces with real engines and threads: what runs between them, and from when on a module answers."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from petapter import Backbone, ModuleInfo, TrainedModule, save_module
from petapter.runtime import Batcher, BatchLimits
from petapter.runtime.batching import Answer
from petapter_schemas.errors import GoldenMismatchError
from tests.petapter.runtime.held_engine import WAIT_S, HeldEngine, Start


@pytest.fixture
def engine(bert: Backbone) -> Iterator[HeldEngine]:
    with HeldEngine(bert) as engine:
        yield engine


@contextmanager
def waiting_turns(batcher: Batcher[str], count: int, *work: Callable[[], object]) -> "Iterator[list[Future[object]]]":
    """So many turns that stand behind the batch that runs, in threads of their own."""
    with ThreadPoolExecutor(len(work)) as pool:
        futures = [pool.submit(each) for each in work]
        while len(batcher._turns) < count:
            assert not any(future.done() for future in futures)
        yield futures


def beside_six_texts(
    batcher: Batcher[str], engine: HeldEngine, load: Callable[[], object]
) -> "tuple[object, list[Future[list[Answer[str]]]]]":
    """What a load says that stands before six texts, each a batch, and these."""
    with engine.held(batcher, "mood"), waiting_turns(batcher, 1, load) as (loading,):
        futures = [batcher.submit([("mood", "good")]) for _ in range(6)]
        engine.let_go.set()
        return loading.result(WAIT_S), futures


def test_texts_that_wait_are_answered_between_the_pieces_of_a_check(
    start: Start, engine: HeldEngine, saved: dict[str, Path]
) -> None:
    batcher = start("mood", limits=BatchLimits(texts=1))
    load = partial(batcher.load, "topic", saved["topic"], about="topic", check=True)
    replaced, futures = beside_six_texts(batcher, engine, load)
    assert replaced is False
    assert all(future.result(WAIT_S) for future in futures)
    assert engine.order[:9] == ["batch"] + ["piece", "batch"] * 4  # 8 golden outputs, two at a time
    assert "piece" not in engine.order[9:]


def test_a_module_answers_after_the_last_piece_of_its_check_alone(
    start: Start, engine: HeldEngine, saved: dict[str, Path]
) -> None:
    batcher = start("mood", limits=BatchLimits(texts=1))
    load = partial(batcher.load, "mood", saved["twin"], about="twin", check=True)
    replaced, futures = beside_six_texts(batcher, engine, load)
    assert replaced is True
    assert [future.result(WAIT_S)[0].about for future in futures] == ["mood"] * 4 + ["twin"] * 2


def test_a_module_that_fails_at_its_last_golden_output_never_answers(
    start: Start, saved: dict[str, Path], tmp_path: Path, modules: dict[str, TrainedModule]
) -> None:
    batcher = start("mood")
    golden = modules["twin"].golden
    *others, last = golden.probes
    wrong = last.model_copy(update={"log_probabilities": last.log_probabilities[::-1]})
    changed = golden.model_copy(update={"probes": (*others, wrong)})
    save_module(replace(modules["twin"], golden=changed), tmp_path / "wrong", ModuleInfo("wrong"))
    with pytest.raises(GoldenMismatchError):
        batcher.load("mood", tmp_path / "wrong", about="wrong", check=True)
    assert batcher.submit([("mood", "good")]).result(WAIT_S)[0].about == "mood"
    assert batcher.stats().modules == 1


def test_loads_of_one_alias_whose_pieces_mix_leave_the_last_of_them(
    start: Start, engine: HeldEngine, saved: dict[str, Path]
) -> None:
    batcher = start("mood")
    members = {"a": saved["mood"], "b": saved["twin"]}
    loads = [partial(batcher.load, "mood", saved[name], about=name, check=True) for name in ("twin", "plain")]
    loads += [partial(batcher.load_ensemble, "mood", members, about="both", check=True) for _ in range(2)]
    with engine.held(batcher, "mood"), waiting_turns(batcher, len(loads), *loads) as loading:
        engine.let_go.set()
        assert all(future.result(WAIT_S) for future in loading)
    assert batcher.submit([("mood", "good")]).result(WAIT_S)[0].about == batcher.modules["mood"] == "both"
    assert batcher.stats().modules == len(members)
