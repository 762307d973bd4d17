"""Recorded passes: run again on other texts and other modules they say what passes say that are not recorded."""

from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Prediction, TrainedModule
from petapter.runtime import graphs, runner
from petapter.runtime.graphs import Again, Graphs, graphs_of
from petapter.runtime.ways import Ways, varlen_attention, ways_of
from petapter.runtime.work import Work
from tests.petapter.conftest import BackboneOf
from tests.petapter.runtime.conftest import assert_same
from tests.petapter.runtime.devices import (
    HOPPER,
    Recorder,
    Traffic,
    own,
    send_away,
    shapes_alone,
    varlen_on_the_device,
    ways_on,
)
from tests.petapter.runtime.test_equality import KINDS, modules_for, texts_for, with_adapter
from tests.petapter.runtime.test_layers import upper_only

FAMILIES = ("bert", "roberta", "distilbert", "albert", "modernbert", "modernbert-global")
WAYS = Ways(tokens=900, ahead=64, sends=True, grouped=True, grouped_heads=False, varlen=varlen_on_the_device)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A device that records, whose attention does not read how long texts are."""
    recorder = Recorder()
    monkeypatch.setattr(runner, "ways_of", lambda *_: WAYS)
    monkeypatch.setattr(graphs, "record_cuda", lambda _device: recorder)
    return recorder


def asked(modules: dict[str, TrainedModule], seed: int, texts: int = 3) -> list[tuple[str, dict[str, str]]]:
    return [(alias, text) for alias, module in modules.items() for text in texts_for(module.task, texts, seed, 9)]


def in_turns(
    backbone: Backbone, modules: dict[str, TrainedModule], *, graphs: bool, module_bytes: int | None = None
) -> list[list[Prediction]]:
    """Answers of all modules, of each alone, and of all again, with other texts each time."""
    with Engine(backbone, graphs=graphs, module_bytes=module_bytes) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        every = [engine.predict(asked(modules, seed)) for seed in range(4)]
        each = [engine.predict(asked({alias: module}, seed)) for seed in range(3) for alias, module in modules.items()]
        return [*every, *each, engine.predict(asked(modules, 9))]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recorded_pass_answers_as_one_that_is_not(backbone_of: BackboneOf, family: str, recorder: Recorder) -> None:
    backbone = backbone_of(family)
    modules = modules_for(backbone)
    found = in_turns(backbone, modules, graphs=True)
    assert recorder.played >= len(recorder.tapes) + 8
    for here, there in zip(found, in_turns(backbone, modules, graphs=False), strict=True):
        assert_same(here, there)


@pytest.mark.parametrize("kind", KINDS)
def test_modules_of_one_form_take_turns_in_a_recorded_pass(bert: Backbone, kind: str, recorder: Recorder) -> None:
    base = modules_for(bert)["lora-0"]
    modules = {f"m{seed}": with_adapter(base, bert, KINDS[kind], seed) for seed in range(6)}
    found = in_turns(bert, modules, graphs=True)
    assert len(recorder.tapes) < recorder.played
    for here, there in zip(found, in_turns(bert, modules, graphs=False), strict=True):
        assert_same(here, there)


def test_modules_come_and_go_between_recorded_passes(bert: Backbone, recorder: Recorder) -> None:
    base = modules_for(bert)["lora-0"]
    modules = {f"m{seed}": with_adapter(base, bert, KINDS["lora"], seed) for seed in range(5)}
    with Engine(own(bert, torch.float32)) as plain, Engine(bert, graphs=True) as engine:
        for turn in range(14):
            alias = f"m{turn % 5}"
            for each in (engine, plain):
                if alias in each.aliases:
                    each.unload(alias)
                each.load(modules[alias], alias)
            requests = asked({alias: modules[alias] for alias in engine.aliases}, turn)
            assert_same(engine.predict(requests), plain.predict(requests))
    assert recorder.played > len(recorder.tapes) > 0


def test_modules_that_wait_on_the_host_are_back_for_a_recorded_pass(bert: Backbone, recorder: Recorder) -> None:
    modules = modules_for(bert)
    found = in_turns(bert, modules, graphs=True, module_bytes=0)
    for here, there in zip(found, in_turns(bert, modules, graphs=False), strict=True):
        assert_same(here, there)
    assert recorder.played > 0


def test_only_what_comes_again_is_recorded(bert: Backbone, recorder: Recorder) -> None:
    modules = {"m": modules_for(bert)["lora-0"]}
    with Engine(bert, graphs=True) as engine:
        engine.load(modules["m"], "m")
        requests = asked(modules, 0)
        for passes in range(4):
            engine.predict(requests)
            assert (len(recorder.tapes), recorder.played) == (min(passes, 1), passes)


def test_large_passes_and_those_with_a_trunk_are_not_recorded(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = upper_only(bert)
    with Engine(bert, graphs=True) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        for _ in range(3):
            engine.predict_all(["the match was good"])
        assert not recorder.tapes
        monkeypatch.setattr(graphs, "_MOST_TOKENS", 40)
        alias = next(iter(modules))
        for _ in range(3):
            engine.predict([(alias, "good " * 60)])
        assert not recorder.tapes
        for _ in range(3):
            engine.predict([(alias, "good")])
        assert len(recorder.tapes) == 1


def test_the_least_recently_used_makes_room(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 2)
    module = modules_for(bert)["lora-0"]
    with Engine(own(bert, torch.float32)) as plain, Engine(bert, graphs=True) as engine:
        for each in (engine, plain):
            each.load(module, "m")
        for count in (1, 9, 20, 1, 9, 20, 20, 20, 9):  # three shapes
            requests = asked({"m": module}, count, count)
            assert_same(engine.predict(requests), plain.predict(requests))
        held = engine._runner._graphs
        assert isinstance(held, Graphs)
        assert len(held) == 2
    assert len(held) == 0


def test_where_recording_fails_passes_run_as_they_are(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_run: Again) -> Again:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(graphs, "record_cuda", lambda _device: fail)
    modules = modules_for(bert)
    with caplog.at_level("WARNING", logger="petapter"):
        found = in_turns(bert, modules, graphs=True)
    for here, there in zip(found, in_turns(bert, modules, graphs=False), strict=True):
        assert_same(here, there)
    assert caplog.messages == [
        "passes are not recorded as CUDA graphs any more: operation not permitted when stream is capturing"
    ]


def test_devices_that_ask_the_host_while_a_pass_runs_record_nothing(bert: Backbone, backbone_of: BackboneOf) -> None:
    assert graphs_of(bert, [], ways_of(torch.device("cpu"), torch.float32, bert.model)) is None
    assert graphs_of(bert, [], replace(WAYS, grouped=False)) is None
    assert graphs_of(backbone_of("deberta-v2"), [], WAYS) is None
    module = modules_for(bert)["lora-0"]
    with Engine(bert, graphs=True) as engine:
        engine.load(module, "m")
        first, *others = (engine.predict(asked({"m": module}, 0)) for _ in range(3))
    for each in others:
        assert_same(each, first)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_waits_for_the_device(backbone_of: BackboneOf, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of(family)
    modules = {alias: module for alias, module in modules_for(backbone).items() if not alias.startswith("lora-top")}
    monkeypatch.setattr(runner, "ways_of", lambda *_: ways_on(HOPPER, torch.bfloat16, backbone, varlen_attention()))
    recorded: list[Again] = []
    monkeypatch.setattr(graphs, "record_cuda", lambda _device: lambda run: recorded.append(run) or run)
    with torch.inference_mode(), Engine(own(backbone, torch.bfloat16), graphs=True) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        work = Work()
        for alias, module in modules.items():
            work.add(engine._modules[alias], texts_for(module.task, 2, 1, 20))
        send_away(engine)
        passes = []
        run = engine._runner._run_pass
        monkeypatch.setattr(engine._runner, "_run_pass", lambda *given: passes.append(1) or run(*given))
        with shapes_alone():
            engine._run(work)
            first = len(passes)
            with Traffic() as traffic:
                engine._run(work)
    assert len(recorded) == first == len(passes) // 2 > 0
    assert (traffic.sent, traffic.waited, traffic.read) == (2 * first, 0, 1)  # of the pass, and of its heads
