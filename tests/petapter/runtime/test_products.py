import pytest
import torch

from petapter.runtime.products import ends_of, grouped_product


@pytest.mark.parametrize("wide", [1, 3, 8, 33])
@pytest.mark.parametrize("out", [1, 2, 8, 31])
@pytest.mark.parametrize("counts", [(5,), (1, 1, 1), (4, 1, 7, 2)])
def test_rows_are_multiplied_by_the_weights_of_their_group(wide: int, out: int, counts: tuple[int, ...]) -> None:
    # reference: one product after the other
    torch.manual_seed(0)
    read = torch.randn(sum(counts), wide)
    stored = torch.randn(len(counts), 3 + wide * out)  # weights may stand anywhere in a longer row
    for weights in (
        stored[:, 3:].unflatten(1, (wide, out)),
        stored[:, 3:].unflatten(1, (out, wide)).transpose(1, 2),
    ):
        expected = torch.cat([part @ weight for part, weight in zip(read.split(counts), weights, strict=True)])
        torch.testing.assert_close(grouped_product(read, weights, ends_of(torch.tensor(counts))), expected)
