"""Students of one generation and of two, and what each of them may see."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from petapter import Backbone, TrainingOptions
from petapter.joint import JointRun, train_jointly
from petapter.selection import PooledPattern
from petapter.tuning import students
from petapter.tuning.distilling import Teaching
from petapter.tuning.frozen import FrozenPool
from petapter.tuning.students import Pupil, School
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

TEXTS = [{"text": text} for text in ("a goal", "bad price", "the ball was fine", "bad business")]
VOTE = torch.log(torch.tensor([[0.6, 0.4]] * 6 + [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.45, 0.55]]).double())
TEACHING = Teaching(0.5, 1.0, TrainingOptions(steps=2))


def alone(task: TaskSpec) -> PooledPattern:
    return PooledPattern("own", task.patterns[0], "own", reads_words_alike=True)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[JointRun]]:
    """What trains, stack by stack."""
    seen: list[list[JointRun]] = []

    def watched(runs: list[JointRun], *given: object, **named: object) -> object:
        seen.append(list(runs))
        return train_jointly(runs, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(students, "train_jointly", watched)
    return seen


def soft_of(run: JointRun) -> Tensor:
    assert run.rows.soft is not None
    return run.rows.soft


def test_one_generation_learns_all_texts_and_is_asked_about_the_rows_left_out(
    bert: Backbone, trained: list[list[JointRun]]
) -> None:
    pupils = [Pupil(SENTIMENT, [0, 1, 2, 3], VOTE, [5, 4]), Pupil(SENTIMENT, range(6), VOTE)]
    fold, every = School((SENTIMENT_ROWS, TEXTS), TEACHING, bert).teach(pupils, 1)
    assert [[len(run.rows.examples) for run in runs] for runs in trained] == [[8, 10]]
    assert (fold.said.shape, every.said.shape) == ((2, 2), (0, 2))


def test_second_generation_learns_from_a_first_that_learnt_the_surest_half(
    bert: Backbone, trained: list[list[JointRun]]
) -> None:
    pupil = Pupil(SENTIMENT, [0, 1, 2, 3], VOTE, [4, 5])
    School((SENTIMENT_ROWS, TEXTS), TEACHING, bert).teach([pupil], 2)
    (first,), (second,) = trained
    assert [row.fields["text"] for row in first.rows.examples[4:]] == ["a goal", "bad price"]
    assert [row.fields["text"] for row in second.rows.examples[4:]] == [text["text"] for text in TEXTS]
    torch.testing.assert_close(soft_of(second)[:4], soft_of(first)[:4], atol=0, rtol=0)  # rows are taught as before
    School((SENTIMENT_ROWS, TEXTS), TEACHING, bert).teach([pupil], 1)
    assert not torch.allclose(soft_of(trained[-1][0])[4:], soft_of(second)[4:], atol=1e-4)  # the first student votes


def test_second_generation_of_a_fold_does_not_depend_on_labels_it_may_not_see(
    bert: Backbone, trained: list[list[JointRun]]
) -> None:
    turned = [*SENTIMENT_ROWS[:4], *(type(row)(row.fields, "pos") for row in SENTIMENT_ROWS[4:])]
    pupil = Pupil(SENTIMENT, [0, 1, 2, 3], VOTE, [4, 5])
    said = [School((rows, TEXTS), TEACHING, bert).teach([pupil], 2)[0].said for rows in (SENTIMENT_ROWS, turned)]
    torch.testing.assert_close(said[0], said[1], atol=0, rtol=0)
    torch.testing.assert_close(soft_of(trained[1][0]), soft_of(trained[3][0]), atol=0, rtol=0)


def test_convex_head_is_added_to_what_a_student_says(bert: Backbone) -> None:
    frozen = FrozenPool.read([alone(SENTIMENT)], SENTIMENT, (SENTIMENT_ROWS, ()), bert).head([0], [0, 1, 3, 4])
    pupil = Pupil(SENTIMENT, [0, 1, 3, 4], VOTE, [2, 5])
    without, with_it = School((SENTIMENT_ROWS, TEXTS), TEACHING, bert).teach([pupil, replace(pupil, head=frozen)], 1)
    assert without.module.head.parts == ("rows", "bias")
    assert with_it.module.head.parts == ("rows", "bias", "labels")
    assert (without.said - with_it.said).abs().max() > 0.01
    faint = School((SENTIMENT_ROWS, TEXTS), replace(TEACHING, temperature=2.0), bert)
    (half,) = faint.teach([replace(pupil, head=frozen)], 1)
    once = with_it.module.head_tensors["labels.weight"]
    torch.testing.assert_close(half.module.head_tensors["labels.weight"], once / 2, atol=0, rtol=0)


def test_student_and_its_convex_head_do_not_depend_on_labels_they_may_not_see(bert: Backbone) -> None:
    turned = [*SENTIMENT_ROWS[:4], *(type(row)(row.fields, "pos") for row in SENTIMENT_ROWS[4:])]
    said = []
    for rows in (SENTIMENT_ROWS, turned):
        frozen = FrozenPool.read([alone(SENTIMENT)], SENTIMENT, (rows, TEXTS), bert)
        pupil = Pupil(SENTIMENT, [0, 1, 2, 3], VOTE, [4, 5], frozen.head([0], [0, 1, 2, 3]))
        said.append(School((rows, TEXTS), TEACHING, bert).teach([pupil], 1)[0].said)
    torch.testing.assert_close(said[0], said[1], atol=0, rtol=0)


def test_student_that_diverges_is_told(bert: Backbone) -> None:
    wild = Teaching(0.5, 1.0, TrainingOptions(steps=3, adapter_lr=1e30, head_lr=1e30))
    with pytest.raises(InputError, match="learns the vote diverged"):
        School((SENTIMENT_ROWS, TEXTS), wild, bert).teach([Pupil(SENTIMENT, range(6), VOTE)], 1)
