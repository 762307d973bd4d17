"""Memory of loaded modules: what stays is their own weights, and on the way there nothing as large is thrown away.

What a load allocates and frees again leaves a hole between what stays, which the C library may not be able to use for
the next one: a thousand loads grew a process by up to twice the modules' bytes, by how the heap lay before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from petapter import Backbone, ModuleInfo, TrainedModule, TrainingOptions, save_module, train
from petapter.adapters import AdapterChoice
from petapter.head import HeadChoice
from petapter.module import open_module
from petapter.runtime.runner import Runner
from petapter.runtime.staging import Ready
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.runtime.test_equality import with_adapter


class Allocated(TorchDispatchMode):
    """Bytes of every storage that an operation gives anew; none is freed meanwhile, so that addresses tell them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: dict[int, Tensor] = {}

    @property
    def sizes(self) -> list[int]:
        """Largest first."""
        return sorted((held.untyped_storage().nbytes() for held in self._held.values()), reverse=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in known:
                self._held[leaf.untyped_storage().data_ptr()] = leaf
        return result


@pytest.fixture
def runner(bert: Backbone) -> Iterator[Runner]:
    runner = Runner(bert)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def module(bert: Backbone) -> TrainedModule:
    base = train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1, rank=0))
    return with_adapter(base, bert, AdapterChoice(rank=16), 0)


def held(ready: Ready) -> list[Tensor]:
    """All tensors of a module that are its own."""
    features = ready.head.features
    own = [] if features is None or features is ready.shared else [features.dense, features.norm]
    scorers = [part for scorer in ready.head.scorers for part in (scorer.weight, scorer.bias)]
    rows = [] if ready.row is None else [ready.row]
    return [*rows, *scorers, *(weight for layer in own for weight in layer.parameters())]


def test_load_allocates_its_row_once_and_no_layer_that_it_shares(runner: Runner, module: TrainedModule) -> None:
    first = runner.ready(module)  # has the layers that all share
    assert first.shared is not None
    with Allocated() as allocated:
        ready = runner.ready(module)
    assert ready.row is not None
    row, shared = ready.row.nbytes, first.shared.dense.weight.nbytes
    largest = max(tensor.nbytes for tensor in module.adapter_tensors.values())
    assert row > 4 * largest
    assert shared > largest
    sizes = allocated.sizes
    assert sizes[0] == row
    assert all(size <= largest for size in sizes[1:]), sizes[:6]
    assert sum(sizes) < 1.5 * row, sizes[:6]
    assert ready.head.features is first.shared


@pytest.mark.parametrize("choice", [HeadChoice(), HeadChoice(trains="all"), HeadChoice("random")])
def test_what_stays_is_no_part_of_anything_larger(bert: Backbone, choice: HeadChoice, tmp_path: Path) -> None:
    options = TrainingOptions(steps=1, rank=4, head=choice)
    save_module(train(SENTIMENT, SENTIMENT_ROWS, bert, options), tmp_path / "module", ModuleInfo("module"))
    runner = Runner(bert)
    ready = runner.ready(open_module(tmp_path / "module", bert))
    runner.close()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held(ready)}
    assert sum(storages.values()) == ready.nbytes
