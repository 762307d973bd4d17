"""A pass on a device of its own memory: all is where it belongs, and the host waits for the answers alone."""

import pytest
import torch

from petapter import Engine
from petapter.runtime import runner
from petapter.runtime.ways import varlen_attention
from petapter.runtime.work import Work
from tests.petapter.conftest import BackboneOf
from tests.petapter.runtime.devices import HOPPER, Traffic, own, send_away, shapes_alone, ways_on
from tests.petapter.runtime.test_equality import modules_for, texts_for

FAMILIES = ("bert", "roberta", "distilbert", "albert", "deberta-v2", "modernbert", "modernbert-global")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "albert", "deberta-v2", "modernbert", "modernbert-global"]
)
def test_mixture_of_every_kind_runs_without_waiting(
    backbone_of: BackboneOf, family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbone_of(family)
    modules = modules_for(backbone)
    passes = []
    run = runner.run_pack
    monkeypatch.setattr(runner, "ways_of", lambda *_: ways_on(HOPPER, dtype, backbone, varlen_attention()))
    monkeypatch.setattr(runner, "run_pack", lambda *given: passes.append(1) or run(*given))
    with torch.inference_mode(), Engine(own(backbone, dtype)) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        work = Work()
        for alias, module in modules.items():
            work.add(engine._modules[alias], texts_for(module.task, 5, 1))
        send_away(engine)
        with shapes_alone(), Traffic() as traffic:
            logits = engine._run(work)
    assert logits.shape == (len(work.items), work.labels)
    own_copies = len(passes) if family == "deberta-v2" else 0  # transformers makes its table of positions on the host
    assert (traffic.sent, traffic.waited, traffic.read) == (len(passes) + own_copies, own_copies, 1)
