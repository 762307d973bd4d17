"""What many say becomes soft labels: votes, balance, and what a student is given to learn."""

import pytest
import torch

from petapter import Backbone, TrainingOptions
from petapter.training.evidence import label_shares, targets_of
from petapter.tuning.distilling import Lesson, Teaching, soft_labels, student_run, surest, voted
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

VOTE = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]], dtype=torch.float64))


def test_vote_is_half_the_mean_of_the_members_and_half_the_convex_head() -> None:
    members = [torch.log(torch.tensor([[0.9, 0.1]])), torch.log(torch.tensor([[0.5, 0.5]]))]
    vote = voted(members, torch.log(torch.tensor([[0.1, 0.9]])))
    torch.testing.assert_close(vote.exp(), torch.tensor([[0.4, 0.6]]).double())
    torch.testing.assert_close(voted([], VOTE), VOTE)


def test_soft_labels_have_the_shares_that_were_asked_for() -> None:
    shares = torch.tensor([0.5, 0.5], dtype=torch.float64)
    soft = soft_labels(VOTE, shares, 2.0)
    torch.testing.assert_close(soft.mean(dim=0), shares, atol=1e-6, rtol=0)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(4).double())
    assert soft[:, 0].argsort().tolist() == VOTE[:, 0].argsort().tolist()


def skewed() -> torch.Tensor:
    """A vote for the first label on 38 of 40 texts, and never by far for the third."""
    sure = torch.linspace(0.5, 0.97, 40, dtype=torch.float64)
    rest = (1 - sure).unsqueeze(1) * torch.tensor([0.9, 0.1], dtype=torch.float64)
    vote = torch.cat([sure.unsqueeze(1), rest], dim=1)
    vote[[3, 17]] = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)
    return vote.log()


def test_no_label_starves_where_the_vote_prefers_one() -> None:
    shares = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert torch.bincount(skewed().argmax(dim=1), minlength=3).tolist() == [38, 2, 0]
    soft = soft_labels(skewed(), shares, 2.0)
    torch.testing.assert_close(soft.mean(dim=0), shares, atol=1e-3, rtol=0)
    balanced = soft_labels(skewed(), shares, 1.0)
    chosen = surest(skewed(), shares, 12)
    assert len(set(chosen)) == 12
    assert chosen == sorted(chosen)
    assert {3, 17} <= set(chosen)
    for label in range(3):  # a third of them are the likeliest of each label
        likeliest = balanced[:, label].argsort(descending=True)[:3].tolist()
        assert set(likeliest) <= set(chosen)


def test_surest_texts_are_those_of_which_the_vote_is_surest() -> None:
    vote = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.45, 0.55], [0.1, 0.9]], dtype=torch.float64))
    even = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert surest(vote, even, 2) == [0, 3]
    assert surest(vote, even, 9) == [0, 1, 2, 3]


def test_shares_are_the_prior_or_the_counts_drawn_towards_equal_ones() -> None:
    rows = targets_of(SENTIMENT, SENTIMENT_ROWS[:4]).double()
    shares = label_shares(SENTIMENT, rows)
    torch.testing.assert_close(shares / shares.sum(), torch.tensor([8, 6]).double() / 14)
    stated = SENTIMENT.model_copy(update={"class_prior": (0.2, 0.8)})
    torch.testing.assert_close(label_shares(stated, rows), torch.tensor([0.2, 0.8]))


def test_student_learns_rows_by_half_as_they_are_labelled_and_texts_as_they_are_voted(bert: Backbone) -> None:
    teaching = Teaching(0.5, 1.0, TrainingOptions(steps=2))
    texts = [{"text": "a goal"}, {"text": "bad price"}]
    vote = torch.log(torch.tensor([[0.6, 0.4]] * 6 + [[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64))
    run = student_run(SENTIMENT, (SENTIMENT_ROWS, texts), Lesson([0, 5], vote), teaching, bert)
    assert [row.label for row in run.rows.examples] == ["pos", "neg", "pos", "neg"]
    soft = run.rows.soft
    assert soft is not None
    expected = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1], [0.1, 0.9]])
    torch.testing.assert_close(soft, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("unlabelled", "weight"), [(0, 1.0), (6, 3.0), (40, 10.0)])
def test_rows_weigh_as_much_as_texts_without_labels_but_at_most_tenfold(
    bert: Backbone, unlabelled: int, weight: float
) -> None:
    texts = [{"text": f"a goal {number}"} for number in range(unlabelled)]
    vote = torch.full((6 + unlabelled, 2), 0.5).log().double()
    teaching = Teaching(0.5, 2.0, TrainingOptions(steps=2))
    run = student_run(SENTIMENT, (SENTIMENT_ROWS, texts), Lesson([0, 5], vote), teaching, bert)
    assert [row.weight for row in run.rows.examples[:2]] == [weight, weight]
