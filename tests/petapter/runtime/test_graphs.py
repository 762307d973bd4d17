"""Recorded passes: run again on other texts and other modules they say what passes say that are not recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch

from petapter import Backbone, Engine, Prediction, TrainedModule
from petapter.runtime import graphs, runner
from petapter.runtime.graphs import Again, Graphs, graphs_of
from petapter.runtime.packed import Hidden
from petapter.runtime.plan import Item, pack_of
from petapter.runtime.shapes import filled
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
    monkeypatch.setattr(graphs, "_OFTEN", 2)
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


def test_only_what_comes_often_is_recorded(bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_OFTEN", 4)
    modules = {"m": modules_for(bert)["lora-0"]}
    with Engine(bert, graphs=True) as engine:
        engine.load(modules["m"], "m")
        requests = asked(modules, 0)
        for passes in range(1, 7):
            engine.predict(requests)
            assert (len(recorder.tapes), recorder.played) == (int(passes >= 4), max(0, passes - 3))


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


def test_the_least_recently_used_makes_room_and_has_to_come_often_again(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 2)
    modules = {f"m{seed}": with_adapter(modules_for(bert)["lora-0"], bert, KINDS["lora"], seed) for seed in range(6)}
    with Engine(own(bert, torch.float32)) as plain, Engine(bert, graphs=True) as engine:
        for alias, module in modules.items():
            plain.load(module, alias)
            engine.load(module, alias)
        held = engine._runner._graphs
        assert isinstance(held, Graphs)

        def ask(count: int, among: int) -> int:
            requests = asked(dict([*modules.items()][:among]), count, count)
            before = len(recorder.tapes)
            assert_same(engine.predict(requests), plain.predict(requests))
            return len(recorder.tapes) - before

        assert [ask(1, 1), ask(1, 1), ask(9, 1), ask(9, 1)] == [0, 1, 0, 1]
        assert [room for _, room in held._blocks] == [4]
        assert [ask(2, 6), ask(2, 6)] == [0, 1]  # the first makes room
        assert sorted(room for _, room in held._blocks) == [4, 16]
        assert [ask(1, 1), ask(1, 1)] == [0, 1]  # now the second does
        assert [ask(2, 6), ask(1, 1)] == [0, 0]
        assert [ask(4, 6), ask(4, 6)] == [0, 1]
        assert len(held) == 2
    assert len(held) == 0


def test_blocks_go_with_the_last_graph_that_reads_them(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 1)
    modules = {f"m{seed}": with_adapter(modules_for(bert)["lora-0"], bert, KINDS["lora"], seed) for seed in range(6)}
    with Engine(bert, graphs=True) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        held = engine._runner._graphs
        assert isinstance(held, Graphs)
        for among, room in ((6, 16), (1, 4), (6, 16)):
            for _ in range(2):
                engine.predict(asked(dict([*modules.items()][:among]), 0))
            assert [room for _, room in held._blocks] == [room]


def test_more_modules_than_a_product_takes_are_not_recorded(bert: Backbone, recorder: Recorder) -> None:
    items = [Item(0, module, 0, 2) for module in range(1022)]
    held = graphs_of(bert, [], WAYS)
    assert held is not None
    for count in (1022, 1021):
        shape = filled(pack_of(items[:count], range(count)), frozenset(), 64).shape
        assert shape.rooms == ((0, 1023),)
    assert not graphs._may_be(pack_of(items, range(1022)))
    assert graphs._may_be(pack_of(items[:1021], range(1021)))


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


def test_a_recording_without_memory_frees_that_of_the_others_and_is_tried_again(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    def scarce(run: Again) -> Again:
        tried.append(1)
        if len(tried) in {2, 4, 5}:
            raise torch.OutOfMemoryError("no memory")
        return recorder(run)

    monkeypatch.setattr(graphs, "record_cuda", lambda _device: scarce)
    modules = {"m": modules_for(bert)["lora-0"]}
    with caplog.at_level("WARNING", logger="petapter"), Engine(bert, graphs=True) as engine:
        engine.load(modules["m"], "m")
        held = engine._runner._graphs
        assert isinstance(held, Graphs)
        recorded = []
        for texts in (1, 1, 9, 9, 9, 9, 20, 20, 1, 1, 1, 1):
            engine.predict(asked(modules, 0, texts))
            recorded.append(len(held))
    assert recorded == [0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]  # the third time is the last
    assert len(tried) == 5
    assert not caplog.messages


def test_a_pass_without_memory_frees_that_of_recorded_passes(
    bert: Backbone, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"m": modules_for(bert)["lora-0"]}
    with Engine(bert, graphs=True) as engine:
        engine.load(modules["m"], "m")
        held = engine._runner._graphs
        assert isinstance(held, Graphs)
        for _ in range(2):
            expected = engine.predict(asked(modules, 0))
        assert len(held) == 1
        whole, graphs_then = runner.prepare_pack, list[int]()

        def scarce(*given: object) -> object:
            graphs_then.append(len(held))
            if len(graphs_then) == 1:
                raise torch.OutOfMemoryError("no memory")
            return whole(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(runner, "prepare_pack", scarce)
        engine.predict(asked(modules, 0, 20))
        assert graphs_then[:2] == [1, 0]
        assert_same(engine.predict(asked(modules, 0)), expected)


@dataclass
class Device:
    """What `record_cuda` asks of torch, told in order.

    Attributes:
        told: Everything that was asked.
        failing: What raises.
    """

    told: list[str]
    failing: frozenset[str]

    def tell(self, what: str) -> None:
        self.told.append(what)
        if what in self.failing:
            raise RuntimeError(what)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Device:
    """torch.cuda as `record_cuda` uses it, without a device."""
    device = Device([], frozenset(request.param))

    class Stream:
        def __init__(self, name: object) -> None:
            self.name = name if name == "caller" else "side"

        def wait_stream(self, other: "Stream") -> None:
            device.tell(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self) -> None:
            device.tell("replay")

    @contextmanager
    def entered(_stream: Stream) -> Iterator[None]:
        device.tell("enter side")
        try:
            yield
        finally:
            device.tell("leave side")

    @contextmanager
    def recording(_graph: Graph, **given: object) -> Iterator[None]:
        assert given["capture_error_mode"] == "thread_local"
        device.tell("begin")
        try:
            yield
        finally:
            device.tell("end")

    caller = Stream("caller")
    fakes = {
        "graph_pool_handle": lambda: (0, 7), "Stream": Stream, "current_stream": lambda _: caller, "stream": entered,
        "CUDAGraph": Graph, "graph": recording, "set_stream": lambda stream: device.tell(f"back to {stream.name}"),
        "current_device": lambda: 3,
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in ("endAllocateToPool", "releasePool"):
        monkeypatch.setattr(
            torch._C,
            f"_cuda_{name}",
            lambda index, pool, name=name: device.tell(f"{name} {index} {pool}"),
            raising=False,
        )
    return device


READY = ["side waits for caller", "enter side", "run", "leave side", "caller waits for side", "begin", "run", "end"]


@pytest.mark.parametrize("device", [[]], indirect=True)
def test_a_pass_is_recorded_beside_the_stream_of_the_caller_who_waits(device: Device) -> None:
    hidden = Hidden(torch.zeros(1), {})

    def run() -> Hidden:
        device.tell("run")
        return hidden

    again = graphs.record_cuda(torch.device("cuda"))(run)
    assert device.told == READY
    assert again() is again() is hidden
    assert device.told == [*READY, "replay", "replay"]


@pytest.mark.parametrize("device", [["end"]], indirect=True)
def test_from_a_recording_that_fails_the_caller_comes_back_and_the_allocator_knows(device: Device) -> None:
    with pytest.raises(RuntimeError, match="end"):
        graphs.record_cuda(torch.device("cuda"))(lambda: device.tell("run"))  # type: ignore[arg-type, return-value]
    assert device.told == [*READY, "back to caller", "endAllocateToPool 3 (0, 7)", "releasePool 3 (0, 7)"]


@pytest.mark.parametrize("device", [["run"]], indirect=True)
def test_after_a_first_run_that_fails_the_caller_waits_for_what_is_under_way(device: Device) -> None:
    with pytest.raises(RuntimeError, match="run"):
        graphs.record_cuda(torch.device("cuda"))(lambda: device.tell("run"))  # type: ignore[arg-type, return-value]
    assert device.told == READY[:5]


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
    monkeypatch.setattr(graphs, "_OFTEN", 2)
    monkeypatch.setattr(graphs, "_MOST_BANKS", 9)
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
