from collections import Counter
from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from petapter.training.order import batches

SKEWED = [2 + (i * 37 % 100) ** 2 // 40 for i in range(200)]  # a few long texts among many short ones


def one_epoch(lengths: Sequence[int], batch_size: int, seed: int = 0) -> list[list[int]]:
    return list(batches(lengths, batch_size, -(-len(lengths) // batch_size), seed))


def padded_share(cut: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    padded = sum(len(rows) * max(lengths[row] for row in rows) for rows in cut)
    return 1 - sum(lengths) / padded


@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=60), size=st.integers(1, 20), seed=st.integers(0, 9))
def test_every_row_comes_once_per_epoch(lengths: list[int], size: int, seed: int) -> None:
    rows = [row for batch in one_epoch(lengths, size, seed) for row in batch]
    assert sorted(rows) == list(range(len(lengths)))


def test_every_row_comes_as_often_as_there_are_epochs() -> None:
    cut = list(batches([5] * 10, 4, steps=9, seed=0))  # three epochs of 4 + 4 + 2
    assert Counter(row for batch in cut for row in batch) == dict.fromkeys(range(10), 3)


@given(steps=st.integers(1, 40), size=st.integers(1, 20))
def test_there_are_as_many_batches_as_steps(steps: int, size: int) -> None:
    assert len(list(batches([3, 1, 4, 1, 5], size, steps, seed=0))) == steps


def test_no_batch_is_larger_than_asked() -> None:
    assert max(map(len, one_epoch(SKEWED, 16))) == 16


def test_same_seed_gives_the_same_order() -> None:
    assert one_epoch(SKEWED, 8, seed=3) == one_epoch(SKEWED, 8, seed=3)


def test_other_seed_gives_another_order() -> None:
    assert one_epoch(SKEWED, 8, seed=3) != one_epoch(SKEWED, 8, seed=4)


def test_epochs_differ_from_each_other() -> None:
    cut = list(batches(SKEWED, 8, 50, seed=0))
    assert cut[:25] != cut[25:]


def test_batches_of_like_length_waste_less_padding_than_unsorted_ones() -> None:
    # reference: batches of the rows as they come, whose order is arbitrary
    unsorted = [list(range(start, min(start + 16, len(SKEWED)))) for start in range(0, len(SKEWED), 16)]
    shares = [padded_share(one_epoch(SKEWED, 16, seed), SKEWED) for seed in range(10)]
    assert max(shares) < padded_share(unsorted, SKEWED) / 2


def test_plain_shuffling_is_that_of_torch_and_keeps_the_last_row_of_an_odd_number() -> None:
    # reference: one permutation per epoch from one generator, cut in pieces
    generator = torch.Generator().manual_seed(1895)
    epochs = [torch.randperm(5, generator=generator).tolist() for _ in range(2)]
    expected = [epoch[start : start + 2] for epoch in epochs for start in (0, 2, 4)]
    assert list(batches([9, 1, 5, 2, 7], 2, 6, 1895, "shuffled")) == expected
    assert [len(batch) for batch in expected] == [2, 2, 1, 2, 2, 1]


def test_plain_shuffling_does_not_look_at_the_lengths() -> None:
    assert list(batches(SKEWED, 2, 100, 0, "shuffled")) == list(batches([1] * len(SKEWED), 2, 100, 0, "shuffled"))
