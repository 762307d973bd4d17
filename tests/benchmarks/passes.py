"""Single passes of a backbone and of heads, as the benchmarks time them apart."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from petapter import Backbone
from petapter.runtime.arrays import Here, Sent
from petapter.runtime.heads import LoadedHead
from petapter.runtime.packed import Acting, Hidden, prepare_pack, run_pack
from petapter.runtime.plan import Pack
from petapter.runtime.scores import Ran, label_logits, plan_heads
from petapter.runtime.ways import Ways, ways_of
from petapter.task import EncodedText


def ways(backbone: Backbone) -> Ways:
    """How passes of a backbone run where it is."""
    return ways_of(backbone.device, backbone.dtype, backbone.model)


def encode(backbone: Backbone, rows: Sequence[EncodedText], pack: Pack) -> Hidden:
    """One pass of a bare backbone."""
    own = ways(backbone)
    arrays = Sent(backbone.device) if own.sends else Here()
    prepared = prepare_pack(backbone, rows, pack, Acting(), arrays, own)
    arrays.send()
    return run_pack(backbone, prepared)


def score(heads: Mapping[int, LoadedHead], ran: Ran, hidden: Hidden) -> Tensor:
    """The heads of a pass of two labels, on the CPU."""
    return label_logits(plan_heads(heads, ran, 2, Here(), grouped=True), hidden)
