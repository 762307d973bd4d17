import pytest

from petapter_schemas.metric_order import higher_is_better, is_better


class Figure:
    def __init__(self, value: float, low: float, high: float, level: float = 0.95) -> None:
        self.value, self.low, self.high, self.level = value, low, high, level


def test_more_is_better_but_of_losses() -> None:
    assert [name for name in ("accuracy", "ece", "log_loss", "their_own") if higher_is_better(name)] == [
        "accuracy", "their_own",
    ]  # fmt: skip


# Newcombe (1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I), table II, method 10, which is
# MOVER over Wilson's intervals: 56/70 - 48/80 has the interval 0.0524 to 0.3339, and 9/10 - 3/10 0.1705 to 0.8090;
# 56/70 - 63/80 has one that holds 0.
@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (Figure(0.8, 0.6918, 0.8769), Figure(0.6, 0.4905, 0.7004), True),
        (Figure(0.9, 0.5958, 0.9821), Figure(0.3, 0.1078, 0.6032), True),
        (Figure(0.8, 0.6918, 0.8769), Figure(0.7875, 0.6857, 0.8629), False),
    ],
)
def test_two_figures_are_apart_where_the_interval_of_the_difference_is(one: Figure, other: Figure, apart: bool) -> None:
    assert is_better("accuracy", one, other) is apart
    assert not is_better("accuracy", other, one)
    mirrored = [Figure(-each.value, -each.high, -each.low) for each in (one, other)]
    assert is_better("log_loss", *mirrored) is apart


def test_intervals_of_another_level_are_scaled() -> None:
    near, far = Figure(0.80, 0.77, 0.83), Figure(0.75, 0.72, 0.78)
    assert is_better("accuracy", near, far)
    half = [Figure(each.value, each.low, each.high, level=0.5) for each in (near, far)]
    assert not is_better("accuracy", *half)


def test_no_figure_is_better_than_itself_and_none_breaks_the_comparison() -> None:
    for figure in (
        Figure(0.5, 0.5, 0.5),
        Figure(0.5, 0.6, 0.7),
        Figure(0.5, 0.1, 0.9, 1 - 1e-16),
        Figure(0, 0, 0, 1e-300),
    ):
        assert not is_better("accuracy", figure, figure)
    assert is_better("accuracy", Figure(0.6, 0.6, 0.6), Figure(0.5, 0.5, 0.5))
