"""What a CUDA device would run gives, run on the CPU, what the CPU's own ways give; and which device has which ways."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from petapter import Engine, TrainedModule
from petapter.backbone import Backbone
from petapter.process import LARGEST_KEPT
from petapter.runtime import runner
from petapter.runtime.arrays import Here, Sent, ranges
from petapter.runtime.ways import Ways, cuda_ways, varlen_attention, ways_of
from tests.petapter.conftest import BackboneOf
from tests.petapter.runtime.devices import AMPERE, HOPPER, varlen_by_segments
from tests.petapter.runtime.test_equality import modules_for, texts_for
from tests.petapter.runtime.test_layers import upper_only

CPU = torch.device("cpu")


def answers(backbone: Backbone, modules: dict[str, TrainedModule]) -> torch.Tensor:
    with Engine(backbone) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        asked = [(alias, text) for alias, module in modules.items() for text in texts_for(module.task, 5, 7)]
        said = [list(answer.probabilities.values()) for answer in engine.predict(asked)]
    widest = max(map(len, said))
    return torch.tensor([[*each, *[0.0] * (widest - len(each))] for each in said])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert", "modernbert", "modernbert-global"])
@pytest.mark.parametrize("which", ["every kind", "shared trunk"])
def test_answers_are_those_of_the_cpu(
    backbone_of: BackboneOf, family: str, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbone_of(family)
    modules = modules_for(backbone) if which == "every kind" or family == "albert" else upper_only(backbone)
    expected = answers(backbone, modules)
    ways = Ways(tokens=300, ahead=7, sends=True, grouped=False, grouped_heads=False, varlen=varlen_by_segments)
    monkeypatch.setattr(runner, "ways_of", lambda *_: ways)
    torch.testing.assert_close(answers(backbone, modules), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("capability", "dtype", "head", "grouped", "flashes"),
    [
        (HOPPER, torch.bfloat16, 64, True, True),
        ((10, 0), torch.bfloat16, 64, True, True),
        (AMPERE, torch.bfloat16, 64, False, True),
        ((12, 0), torch.bfloat16, 64, False, True),
        ((7, 5), torch.bfloat16, 64, False, False),
        (HOPPER, torch.float32, 64, False, False),
        (HOPPER, torch.bfloat16, 20, True, False),
        (HOPPER, torch.bfloat16, 320, True, False),
    ],
)
def test_device_has_the_kernels_of_its_capability(
    capability: tuple[int, int], dtype: torch.dtype, head: int, grouped: bool, flashes: bool
) -> None:
    ways = cuda_ways(capability, dtype, head, varlen_by_segments)
    assert ways.sends
    assert (ways.grouped, ways.varlen is not None) == (grouped, flashes)
    assert not ways.grouped_heads  # of single precision


def test_installed_torch_has_attention_with_windows_and_scale() -> None:
    assert varlen_attention() is torch.nn.attention.varlen.varlen_attn


def test_the_cpu_copies_nothing(bert: Backbone) -> None:
    assert not ways_of(CPU, torch.bfloat16, bert.model).sends
    values = ranges([3, 9], [2, 1])
    assert Here().put(values).data_ptr() == values.ctypes.data


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_block_of_a_pass_is_given_back_to_the_kernel(bert: Backbone, dtype: torch.dtype) -> None:
    narrow = ways_of(CPU, dtype, bert.model).tokens
    model = BertForMaskedLM(
        BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, intermediate_size=4096)
    )
    wide = ways_of(CPU, dtype, model).tokens
    assert narrow == 4096
    assert wide * 4096 * dtype.itemsize < LARGEST_KEPT <= (wide + 1) * 4096 * dtype.itemsize


def test_what_was_put_is_there_when_it_was_sent() -> None:
    arrays = Sent(CPU)
    assert arrays.put([]).dtype == torch.int64
    put = [arrays.put([number, -number] * 3) for number in range(50)]
    flags, ends = arrays.put([True, False, True], bool), arrays.put(ranges([7], [3]).reshape(3, 1), "int32")
    large = arrays.put(range(300_000))  # more than a page holds
    nothing = arrays.put([])
    arrays.send()
    assert [one.tolist() for one in put] == [[number, -number] * 3 for number in range(50)]
    assert flags.tolist() == [True, False, True]
    assert (ends.tolist(), ends.dtype) == ([[7], [8], [9]], torch.int32)
    assert torch.equal(large, torch.arange(300_000))
    assert nothing.shape == (0,)
    assert all(one.data_ptr() % 16 == 0 for one in (*put, flags, ends, large))


def test_what_is_put_on_a_given_page_stands_where_the_same_stood_before() -> None:
    page = torch.zeros(64, dtype=torch.uint8)
    places = []
    for number in (7, 9):
        arrays = Sent(CPU, page)
        first, second = arrays.put([number, 1]), arrays.put([number] * 3, "int32")
        arrays.send()
        assert (first.tolist(), second.tolist()) == ([number, 1], [number] * 3)
        places.append((first.data_ptr(), second.data_ptr()))
    assert places[0] == places[1]
    assert places[0][0] == page.data_ptr()


def test_a_given_page_that_is_too_small_is_an_error() -> None:
    arrays = Sent(CPU, torch.zeros(40, dtype=torch.uint8))
    arrays.put([1, 2])
    with pytest.raises(ValueError, match="a page of 40 bytes is too small"):
        arrays.put([3, 4, 5, 6])
