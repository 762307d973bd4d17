import pytest
import torch

from petapter.runtime.arrays import Here
from petapter.runtime.products import Groups, grouped_product, groups_of


@pytest.mark.parametrize("grouped", [True, False], ids=["grouped_mm", "blocks"])
@pytest.mark.parametrize("wide", [1, 3, 8, 33])
@pytest.mark.parametrize("out", [1, 2, 8, 31])
@pytest.mark.parametrize("counts", [(5,), (1, 1, 1), (4, 1, 7, 2), (1, 1, 1, 30)])
def test_rows_are_multiplied_by_the_weights_of_their_group(
    wide: int, out: int, counts: tuple[int, ...], grouped: bool
) -> None:
    # reference: one product after the other
    torch.manual_seed(0)
    read = torch.randn(sum(counts), wide)
    stored = torch.randn(len(counts), 3 + wide * out)  # weights may stand anywhere in a longer row
    groups = groups_of(counts, Here(), grouped=grouped)
    for weights in (
        stored[:, 3:].unflatten(1, (wide, out)),
        stored[:, 3:].unflatten(1, (out, wide)).transpose(1, 2),
    ):
        expected = torch.cat([part @ weight for part, weight in zip(read.split(counts), weights, strict=True)])
        torch.testing.assert_close(grouped_product(read, weights, groups), expected)


def blocked(*counts: int) -> Groups:
    return groups_of(counts, Here(), grouped=False)


@pytest.mark.parametrize("counts", [(1, 1), (3, 500), (500, 3, 1, 1, 1, 1), tuple(range(1, 90)), (128,) * 32])
def test_blocks_hold_at_most_twice_the_rows_and_one_for_each_group(counts: tuple[int, ...]) -> None:
    blocks = blocked(*counts).blocks
    assert blocks is not None
    assert len(blocks.group_of) < 2 * len(counts)
    assert len(blocks.taken) < 2 * (sum(counts) + len(counts))
    assert blocks.taken.index_select(0, blocks.back).tolist() == list(range(sum(counts)))


def test_more_groups_than_grouped_mm_takes_are_cut_into_blocks() -> None:
    assert groups_of([1] * 1023, Here(), grouped=True).blocks is None
    assert groups_of([1] * 1024, Here(), grouped=True).blocks is not None


def test_a_single_group_needs_no_blocks() -> None:
    assert blocked(7).blocks is None
