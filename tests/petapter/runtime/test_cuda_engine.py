"""An engine on a GPU: every kind of module in one mixture, memory that runs out, modules that come and go."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, TrainedModule
from petapter.runtime import graphs
from petapter.runtime.ways import head_width, varlen_attention, ways_of
from tests.petapter.conftest import BackboneOf
from tests.petapter.runtime.devices import varlen_by_segments
from tests.petapter.runtime.test_equality import modules_for, texts_for

FAMILIES = ("bert", "roberta", "distilbert", "deberta-v2", "modernbert", "modernbert-global", "albert")
ROUNDING = 0.05
"""Of probabilities, for 8 bits of precision in two layers with large random adapters."""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A process that may take no more than a thousandth of the device."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.001)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def answers(backbone: Backbone, modules: dict[str, TrainedModule], texts: int = 5, **limit: int) -> torch.Tensor:
    with Engine(backbone, **limit) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        asked = [(alias, text) for alias, module in modules.items() for text in texts_for(module.task, texts, 2)]
        said = [list(answer.probabilities.values()) for answer in engine.predict(asked)]
    widest = max(map(len, said))
    return torch.tensor([[*each, *[0.0] * (widest - len(each))] for each in said])


@pytest.mark.parametrize("family", FAMILIES)
def test_mixture_answers_as_on_the_cpu(directories: dict[str, Path], backbone_of: BackboneOf, family: str) -> None:
    modules = modules_for(backbone_of(family))
    cuda = Backbone.load(directories[family], device="cuda")
    torch.testing.assert_close(answers(cuda, modules), answers(backbone_of(family), modules), rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixture_in_bfloat16_agrees_with_the_cpu(
    directories: dict[str, Path], backbone_of: BackboneOf, family: str
) -> None:
    modules = modules_for(backbone_of(family))
    half = answers(Backbone.load(directories[family], device="cuda", precision="bfloat16"), modules)
    full = answers(backbone_of(family), modules)
    assert (half - full).abs().mean() < ROUNDING / 5
    sure = full.topk(2).values.diff(dim=1).abs().squeeze(1) > 2 * ROUNDING
    assert (half.argmax(dim=1) == full.argmax(dim=1))[sure].float().mean() > 0.95


def test_modules_that_come_and_go_answer_the_same(directories: dict[str, Path], bert: Backbone) -> None:
    modules = modules_for(bert)
    cuda = Backbone.load(directories["bert"], device="cuda")
    torch.testing.assert_close(
        answers(cuda, modules, module_bytes=0), answers(cuda, modules), rtol=0, atol=1e-5, msg="of no resident module"
    )


def test_modules_come_back_beside_the_passes_and_the_host_goes_on(directories: dict[str, Path], bert: Backbone) -> None:
    modules = modules_for(bert)
    cuda = Backbone.load(directories["bert"], device="cuda")
    expected = answers(cuda, modules)
    with Engine(cuda, module_bytes=0) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        for ready in engine._kept.values():
            assert ready.row is None or ready.row.is_pinned()
        bring = engine._residency._bring

        def watched(number: int) -> int:
            torch.cuda.set_sync_debug_mode("error")
            try:
                return bring(number)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        engine._residency._bring = watched
        for _ in range(3):  # what one forgets, the next gets the memory of
            torch.cuda._sleep(50_000_000)  # the device is behind: nothing of the copies is there when a pass is begun
            said = [
                list(answer.probabilities.values())
                for alias, module in modules.items()
                for answer in engine.predict([(alias, text) for text in texts_for(module.task, 5, 2)])
            ]
            found = torch.tensor([[*each, *[0.0] * (expected.shape[1] - len(each))] for each in said])
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_pass_without_memory_is_halved(
    directories: dict[str, Path], bert: Backbone, little_memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    modules = modules_for(bert)
    cuda = Backbone.load(directories["bert"], device="cuda")
    taken = torch.empty(_free_bytes() - (8 << 20), dtype=torch.uint8, device="cuda")
    with caplog.at_level("WARNING", logger="petapter"):
        found = answers(cuda, modules, texts=40)
    del taken
    assert "the device is out of memory for" in caplog.text
    torch.testing.assert_close(found, answers(bert, modules, texts=40), rtol=0, atol=1e-4)


def _free_bytes() -> int:
    """Of what the process may take."""
    _, total = torch.cuda.mem_get_info()
    return total // 1000 - torch.cuda.memory_reserved()


def test_attention_of_torch_is_what_the_tests_take_it_for(backbone_of: BackboneOf) -> None:
    varlen = varlen_attention()
    cuda = torch.device("cuda")
    if varlen is None or ways_of(cuda, torch.bfloat16, backbone_of("bert").model).varlen is None:
        pytest.skip("this device or torch has no attention over texts of any length")
    assert head_width(backbone_of("bert").model) == 16
    torch.manual_seed(0)
    query, key, value = (torch.randn(13, 2, 16).bfloat16() for _ in range(3))
    whole, fewer = torch.tensor([0, 5, 13], dtype=torch.int32), torch.tensor([0, 1, 3], dtype=torch.int32)
    every = (query, whole, 8)
    for (asked, offsets, longest), window in ((every, (-1, -1)), (every, (2, 2)), ((query[:3], fewer, 2), (-1, -1))):
        here = varlen_by_segments(asked, key, value, offsets, whole, longest, 8, window_size=window)
        states = [states.to(cuda) for states in (asked, key, value, offsets, whole)]
        there = varlen(*states, longest, 8, window_size=window)
        torch.testing.assert_close(there.cpu(), here, rtol=0.02, atol=0.02)


def test_nothing_waits_for_the_device_while_passes_run(directories: dict[str, Path], bert: Backbone) -> None:
    modules = modules_for(bert)
    cuda = Backbone.load(directories["bert"], device="cuda", precision="bfloat16")
    with Engine(cuda) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        run = engine._runner._run_pass
        asked = [(alias, text) for alias, module in modules.items() for text in texts_for(module.task, 5, 2)]
        engine.predict(asked)

        def watched(*given: object) -> None:
            torch.cuda.set_sync_debug_mode("error")
            try:
                run(*given)  # type: ignore[arg-type]
            finally:
                torch.cuda.set_sync_debug_mode("default")

        engine._runner._run_pass = watched  # type: ignore[method-assign, assignment]
        engine.predict(asked)


@pytest.fixture
def recording(directories: dict[str, Path]) -> Backbone:
    """A backbone whose passes can be recorded."""
    cuda = Backbone.load(directories["bert"], device="cuda", precision="bfloat16")
    ways = ways_of(torch.device("cuda"), torch.bfloat16, cuda.model)
    if ways.varlen is None or not ways.grouped:
        pytest.skip("this device or torch asks the host for sizes while a pass runs")
    return cuda


@pytest.mark.parametrize("module_bytes", [None, 0])
def test_recorded_passes_answer_as_others(
    recording: Backbone, bert: Backbone, module_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_OFTEN", 2)
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 8)
    modules = modules_for(bert)
    said: dict[bool, list[list[float]]] = {}
    for wanted in (False, True):
        with Engine(recording, graphs=wanted, module_bytes=module_bytes) as engine:
            for alias, module in modules.items():
                engine.load(module, alias)
            said[wanted] = [
                list(answer.probabilities.values())
                for seed in (1, 2, 1, 3, 4)
                for alias, module in modules.items()
                for answer in engine.predict([(alias, text) for text in texts_for(module.task, 2, seed, 9)])
            ]
            held = engine._runner._graphs
            assert (held is not None and len(held) > 0) == wanted
    difference = torch.tensor(
        [
            abs(a - b)
            for one, other in zip(said[True], said[False], strict=True)
            for a, b in zip(one, other, strict=True)
        ]
    )
    assert difference.max() < ROUNDING
    assert difference.mean() < ROUNDING / 10


def test_nothing_waits_for_the_device_while_recorded_passes_run(recording: Backbone, bert: Backbone) -> None:
    module = modules_for(bert)["lora-0"]
    with Engine(recording, graphs=True) as engine:
        engine.load(module, "m")
        asked = [("m", text) for text in texts_for(module.task, 5, 2, 9)]
        for _ in range(5):
            engine.predict(asked)
        run, passes = engine._runner._run_pass, list[int]()

        def watched(*given: object) -> None:
            passes.append(1)
            torch.cuda.set_sync_debug_mode("error")
            try:
                run(*given)  # type: ignore[arg-type]
            finally:
                torch.cuda.set_sync_debug_mode("default")

        engine._runner._run_pass = watched  # type: ignore[method-assign, assignment]
        engine.predict(asked)
        assert passes


def test_after_a_recording_that_fails_passes_run_and_halve(
    recording: Backbone, bert: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = modules_for(bert)["lora-0"]
    whole = graphs.run_pack

    def asking(*given: object) -> object:
        hidden = whole(*given)  # type: ignore[arg-type]
        if torch.cuda.is_current_stream_capturing():
            hidden.last[0, 0].item()  # which no recording may do
        return hidden

    monkeypatch.setattr(graphs, "run_pack", asking)
    before = torch.cuda.current_stream()
    with caplog.at_level("WARNING", logger="petapter"), Engine(recording, graphs=True) as engine:
        engine.load(module, "m")
        asked = [("m", text) for text in texts_for(module.task, 5, 2, 9)]
        said = [engine.predict(asked) for _ in range(6)]
        torch.cuda.empty_cache()
        assert torch.cuda.current_stream() == before
        assert engine.predict(asked)[0].label == said[0][0].label
    assert sum("not recorded as CUDA graphs" in message for message in caplog.messages) == 1
