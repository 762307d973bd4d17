"""Modules that answer differently from each other, and what each answers alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from petapter import Backbone, Engine, ModuleInfo, Prediction, TrainedModule, save_module, train
from petapter.runtime import Batcher, BatchLimits
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS, TOPIC_ROWS
from tests.petapter.runtime.held_engine import Start

TEXTS = [row.fields["text"] for row in SENTIMENT_ROWS]
ARTICLES = [row.fields for row in TOPIC_ROWS]


@pytest.fixture
def engine(bert: Backbone) -> Iterator[Engine]:
    with Engine(bert) as engine:
        yield engine


@pytest.fixture(scope="session")
def modules(
    sentiment: TrainedModule, topic: TrainedModule, head_only: TrainedModule, bert: Backbone
) -> dict[str, TrainedModule]:
    """Two LoRA modules of different tasks, one without adapter, and a second of the same shape as the first."""
    twin = train(SENTIMENT, SENTIMENT_ROWS[::-1], bert, replace(QUICK, rank=8, alpha=16.0, adapter_lr=0.05, seed=5))
    return {"mood": sentiment, "topic": topic, "plain": head_only, "twin": twin}


@pytest.fixture(scope="session")
def saved(modules: dict[str, TrainedModule], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("modules")
    for alias, module in modules.items():
        save_module(module, folder / alias, ModuleInfo(alias))
    return {alias: folder / alias for alias in modules}


@pytest.fixture
def start(engine: Engine, bert: Backbone, saved: dict[str, Path]) -> Iterator[Start]:
    """Starts the one batcher of a test with some modules, each about itself."""
    started: list[Batcher[str]] = []

    def start(*aliases: str, limits: BatchLimits | None = None, **options: object) -> Batcher[str]:
        batcher: Batcher[str] = Batcher(engine, bert, limits, **options)  # type: ignore[arg-type]
        started.append(batcher)
        for alias in aliases:
            batcher.load(alias, saved[alias], about=alias)
        return batcher

    yield start
    for batcher in started:
        batcher.close()


@pytest.fixture(scope="session")
def alone(modules: dict[str, TrainedModule], bert: Backbone) -> dict[str, list[Prediction]]:
    """What each module answers when no other is loaded."""
    answers: dict[str, list[Prediction]] = {}
    for alias, module in modules.items():
        with Engine(bert) as engine:
            engine.load(module, alias)
            answers[alias] = engine.predict([(alias, text) for text in inputs(alias)])
    return answers


def inputs(alias: str) -> list[str] | list[dict[str, str]]:
    return ARTICLES if alias == "topic" else TEXTS


def load_all(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    for alias, module in modules.items():
        engine.load(module, alias)


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    assert [(answer.alias, answer.label) for answer in found] == [(answer.alias, answer.label) for answer in expected]
    for here, there in zip(found, expected, strict=True):
        assert here.probabilities == pytest.approx(there.probabilities, abs=1e-5)
