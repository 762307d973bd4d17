"""Members become as sure as they should be, by rows of other folds alone."""

import torch

from petapter.selection import GroupedFolds
from petapter.tuning import Member
from petapter.tuning.sureness import at_temperature, members_temperature

FOLDS = GroupedFolds(fold_of=(0,) * 40 + (1,) * 40, count=2, asked=2, near_duplicates=0)
GOLD = torch.tensor([0, 1] * 40)


def said(sure: float, right: float) -> torch.Tensor:
    """What a member says of all rows: so sure of each answer, so often right in either fold."""
    answers = GOLD.clone()
    wrong = round((1 - right) * 40)
    for first in (0, 40):
        answers[first : first + wrong] = 1 - answers[first : first + wrong]
    return torch.log(torch.where(torch.arange(2) == answers.unsqueeze(1), sure, 1 - sure)).double()


def test_members_that_are_too_sure_are_made_less_so_and_faint_ones_surer() -> None:
    loud = {Member(fold, 0, 0): said(0.99, 0.75) for fold in (0, 1)}
    faint = {Member(fold, 0, 0): said(0.55, 0.95) for fold in (0, 1)}
    assert members_temperature(loud, FOLDS, GOLD) > 2
    assert members_temperature(faint, FOLDS, GOLD) < 0.5
    calmed = at_temperature([said(0.99, 0.75)], members_temperature(loud, FOLDS, GOLD))[0].exp().amax(dim=1)
    assert 0.7 < float(calmed[0]) < 0.85  # right in 0.75 of cases


def test_temperature_stays_near_one_where_few_rows_speak() -> None:
    few = GroupedFolds(fold_of=(0, 0, 1, 1), count=2, asked=2, near_duplicates=0)
    right = torch.log(torch.tensor([[0.7, 0.3], [0.3, 0.7]] * 2)).double()
    assert 0.6 < members_temperature({Member(0, 0, 0): right}, few, GOLD[:4]) < 1.0


def test_a_fold_has_no_part_in_the_temperature_of_its_members() -> None:
    members = {Member(fold, 0, seed): said(0.9, 0.8) for fold in (0, 1) for seed in (0, 1)}
    turned = torch.cat([1 - GOLD[:40], GOLD[40:]])
    assert members_temperature(members, FOLDS, GOLD, without=0) == members_temperature(
        members, FOLDS, turned, without=0
    )
    assert members_temperature(members, FOLDS, GOLD) != members_temperature(members, FOLDS, turned)


def test_without_members_nothing_is_changed() -> None:
    assert members_temperature({}, FOLDS, GOLD) == 1.0
