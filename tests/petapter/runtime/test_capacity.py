"""What an engine holds: a limit of bytes, what it counts, and a device that runs out of memory."""

from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Prediction, TrainedModule
from petapter.runtime import runner
from petapter_schemas.errors import BackboneError, InputError, TensorFileError
from tests.petapter.runtime.conftest import TEXTS, assert_same, inputs, load_all


def test_modules_beyond_the_limit_of_bytes_come_back_and_answer_the_same(
    bert: Backbone, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    with Engine(bert) as engine:
        load_all(engine, modules)
        whole = engine.stats()
    assert (whole.modules, whole.resident, whole.host_bytes, whole.misses) == (4, 4, 0, 0)
    limit = whole.resident_bytes // 2
    with Engine(bert, module_bytes=limit) as engine:
        load_all(engine, modules)
        for alias in (*modules, *reversed(modules)):
            assert_same(engine.predict([(alias, text) for text in inputs(alias)]), alone[alias])
            assert engine.stats().resident_bytes <= limit
        found = engine.stats()
        assert found.resident < found.modules == 4
        assert found.misses > 0
        assert found.host_bytes > 0
        mixed = [(alias, text) for alias in modules for text in inputs(alias)]
        expected = [answer for alias in modules for answer in alone[alias]]
        assert_same(engine.predict(mixed), expected)  # one pass with more modules than the limit holds
        engine.unload("mood")
        assert engine.stats().modules == 3
        assert_same(engine.predict([("twin", text) for text in TEXTS]), alone["twin"])


def test_stats_count_what_ran(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    load_all(engine, modules)
    assert engine.stats().tokens_per_second == 0.0
    engine.predict([("mood", "a good game"), ("topic", {"title": "a", "body": "b"})])
    found = engine.stats()
    assert found.encodings == 3  # two patterns of the second
    assert found.tokens == 9 + 8 + 8
    assert found.hits == 2
    assert found.tokens_per_second > 0


def test_limit_below_zero_is_refused(bert: Backbone) -> None:
    with pytest.raises(InputError, match="module_bytes must be 0 or more"):
        Engine(bert, module_bytes=-1)


def test_module_that_does_not_fit_leaves_the_engine_as_it_was(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    engine.load(modules["mood"], "mood")
    broken = {name: tensor[..., :1] for name, tensor in modules["topic"].adapter_tensors.items()}
    before = engine.stats()
    with pytest.raises(TensorFileError, match="do not fit this backbone"):
        engine.load(replace(modules["topic"], adapter_tensors=broken), "topic")
    assert engine.stats() == before
    assert engine.aliases == ("mood",)
    assert_same(engine.predict([("mood", text) for text in TEXTS]), alone["mood"])


def test_pass_that_finds_no_memory_is_halved(
    engine: Engine,
    modules: dict[str, TrainedModule],
    alone: dict[str, list[Prediction]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    load_all(engine, modules)
    whole = runner.prepare_pack
    tokens: list[int] = []

    def small(*given: object) -> object:
        pack = given[2]
        tokens.append(pack.tokens)  # type: ignore[attr-defined]
        if tokens[-1] > 40:
            raise torch.OutOfMemoryError
        return whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "prepare_pack", small)
    with caplog.at_level("WARNING", logger="petapter"):
        found = engine.predict([(alias, text) for alias in modules for text in inputs(alias)])
    assert_same(found, [answer for alias in modules for answer in alone[alias]])
    assert max(tokens) > 40
    assert "the device is out of memory for" in caplog.text

    def none(*_: object) -> object:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(runner, "prepare_pack", none)
    with pytest.raises(BackboneError, match="out of memory for a single text of 9 tokens"):
        engine.predict([("mood", "a good game")])
