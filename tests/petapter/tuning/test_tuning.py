"""Patterns are searched again for every fold, members vote, and one module comes out with a score that paid for it."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from petapter import Backbone, Engine, Example, TrainedModule
from petapter.joint.memory import JointPlan
from petapter.selection import PooledPattern, choose, pattern_pool
from petapter.selection.choosing import Choice
from petapter.training.profiling import LeftOut
from petapter.training.strong import train_strong
from petapter.tuning import (
    Member,
    MemberRuns,
    OnMembers,
    PatternStanding,
    Said,
    Trains,
    Tuned,
    TuneOptions,
    Watcher,
    Work,
    tune,
    tuning,
)
from petapter.tuning.frozen import FrozenPool
from petapter.tuning.members import Asked
from petapter.tuning.report import draw_tuning, tuning_report
from petapter.tuning.students import Graduate, Pupil, School
from petapter_schemas.errors import DataError, InputError
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

ROWS = [
    *SENTIMENT_ROWS,
    *(
        Example({"text": text}, label)
        for text, label in [
            ("a good goal", "pos"),
            ("the team was fine", "pos"),
            ("very good price", "pos"),
            ("a bad match", "neg"),
            ("the market was bad", "neg"),
            ("no good goal in that game", "neg"),
        ]
    ),
]
QUICK = TuneOptions(patterns=2, seeds=2, folds=2, steps=4, student_steps=6, batch_size=4, student_batch_size=4)
TEXTS = [{"text": "the ball was fine"}, {"text": "bad business"}, {"text": "a goal"}]


def pool(backbone: Backbone) -> list[PooledPattern]:
    return list(pattern_pool(SENTIMENT, ["en"], backbone).patterns[:3])


@pytest.fixture(scope="module")
def plans() -> list[JointPlan]:
    """How the stacks of `tuned` share the memory."""
    return []


@pytest.fixture(scope="module")
def tuned(bert: Backbone, plans: list[JointPlan]) -> Tuned:
    return tune(SENTIMENT, ROWS, bert, pool(bert), QUICK, unlabelled=TEXTS, watcher=Watcher(on_plan=plans.append))


def counting(bert: Backbone, seen: list[Member], *, dies_after: int | None = None) -> Callable[[Asked], Trains]:
    """What trains members, tells which, and is killed after some."""

    def make(asked: Asked) -> Trains:
        runs = MemberRuns(asked, bert, QUICK.of_members(bert), at_once=QUICK.at_once)

        def trains(members: Sequence[Member], on_members: OnMembers | None = None) -> Generator[Said, None, None]:
            for said in runs(members, on_members):
                if dies_after is not None and len(seen) >= dies_after:
                    raise KeyboardInterrupt
                seen.extend(said)
                yield said

        return trains

    return make


def test_every_pattern_is_told_and_the_module_asks_in_some(tuned: Tuned) -> None:
    assert len(tuned.patterns) == 3
    assert [each.frozen_loss for each in tuned.patterns] == sorted(each.frozen_loss for each in tuned.patterns)
    assert sum(each.folds for each in tuned.patterns) == QUICK.patterns * QUICK.folds
    assert {each.template for each in tuned.patterns if each.is_asked} == {
        pattern.template for pattern in tuned.module.task.patterns
    }
    assert tuned.vote.members == QUICK.patterns * QUICK.seeds * QUICK.folds
    assert [each.name for each in tuned.finalists] == ["distilled", "strong"]
    assert tuned.finalists[0].rows == len(ROWS)
    assert 0 <= tuned.interval.low <= tuned.accuracy <= tuned.interval.high <= 1


def test_module_names_the_labelled_rows_and_reproduces_its_golden_outputs(tuned: Tuned, bert: Backbone) -> None:
    assert tuned.module.training.examples_per_class == (6, 6)
    with Engine(bert) as engine:
        engine.load(tuned.module, "tuned", check=True)
        assert engine.predict([("tuned", "a good game")])[0].label in SENTIMENT.label_names


def test_what_is_said_of_a_fold_does_not_depend_on_its_labels(bert: Backbone) -> None:
    patterns = pool(bert)
    fold = range(4)
    seen = range(4, len(ROWS))
    turned = [
        replace(row, label={"pos": "neg", "neg": "pos"}[row.label]) if at in fold else row
        for at, row in enumerate(ROWS)
    ]
    found = [FrozenPool.read(patterns, SENTIMENT, (rows, TEXTS), bert) for rows in (ROWS, turned)]
    one, other = (each.ranked(seen, 2) for each in found)
    assert one.losses == other.losses
    assert one.chosen == other.chosen
    torch.testing.assert_close(found[0].says(one.together, seen), found[1].says(other.together, seen), atol=0, rtol=0)


def test_students_of_folds_get_convex_heads_that_saw_no_label_of_the_fold(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[Pupil] = []
    teach = School.teach

    def watched(school: School, pupils: Sequence[Pupil], generations: int) -> list[Graduate]:
        taught.extend(pupils)
        return teach(school, pupils, generations)

    monkeypatch.setattr(School, "teach", watched)
    patterns = pool(bert)
    tune(SENTIMENT, ROWS, bert, patterns, replace(QUICK, steps=1, student_steps=1), unlabelled=TEXTS)
    assert len(taught) == QUICK.folds + 1
    by_template = {each.pattern.template: number for number, each in enumerate(patterns)}
    for pupil in taught:
        turned = [
            replace(row, label={"pos": "neg", "neg": "pos"}[row.label]) if at in pupil.left_out else row
            for at, row in enumerate(ROWS)
        ]
        read = FrozenPool.read(patterns, SENTIMENT, (turned, TEXTS), bert)
        expected = read.head([by_template[each.template] for each in pupil.task.patterns], list(pupil.rows))
        assert pupil.head is not None
        assert set(pupil.rows) == set(range(len(ROWS))) - set(pupil.left_out)
        torch.testing.assert_close(pupil.head.convex.maps, expected.convex.maps, atol=0, rtol=0)
        torch.testing.assert_close(pupil.head.prior, expected.prior, atol=0, rtol=0)


def test_score_of_a_student_rests_on_all_rows_though_strong_was_left_without_some_alone(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tuple(range(1, 11))
    left_without: list[list[int]] = []

    def with_a_delta_that_is_wrong(*given: Any, on_left_out: Callable[[LeftOut], None], **named: Any) -> TrainedModule:
        def tell(heard: LeftOut) -> None:
            targets = heard.targets[list(some)]
            on_left_out(replace(heard, logits=-9 * targets.double(), targets=targets, rows=some))

        return train_strong(*given, on_left_out=tell, **named)

    def watched(names: Any, losses: Any, correct: Any, rows: Sequence[Sequence[int]]) -> Choice:
        left_without.extend(list(each) for each in rows)
        return choose(names, losses, correct, rows)

    monkeypatch.setattr(tuning, "train_strong", with_a_delta_that_is_wrong)
    monkeypatch.setattr(tuning, "choose", watched)
    found = tune(SENTIMENT, ROWS, bert, pool(bert), replace(QUICK, steps=1), unlabelled=TEXTS)
    distilled, strong = found.finalists
    assert found.chosen is distilled
    assert (distilled.rows, strong.rows, strong.accuracy) == (len(ROWS), len(some), 0)
    assert found.choice.naive_accuracy == pytest.approx(distilled.accuracy)
    assert left_without == [list(range(len(ROWS))), list(some)]


def test_tuning_that_was_killed_trains_nothing_twice_and_ends_the_same(
    bert: Backbone, tuned: Tuned, tmp_path: Path
) -> None:
    identity = {"rows": "those"}
    first: list[Member] = []
    with pytest.raises(KeyboardInterrupt):
        tune(
            SENTIMENT, ROWS, bert, pool(bert), QUICK, unlabelled=TEXTS, work=Work(tmp_path / "work", identity),
            trains=counting(bert, first, dies_after=1),
        )  # fmt: skip
    assert first
    second: list[Member] = []
    again = tune(
        SENTIMENT, ROWS, bert, pool(bert), QUICK, unlabelled=TEXTS, work=Work(tmp_path / "work", identity),
        trains=counting(bert, second),
    )  # fmt: skip
    assert not set(first) & set(second)
    assert len(first) + len(second) == QUICK.patterns * QUICK.seeds * QUICK.folds
    assert again.vote.accuracy == tuned.vote.accuracy
    for name, tensor in tuned.module.head_tensors.items():
        torch.testing.assert_close(again.module.head_tensors[name], tensor, atol=1e-5, rtol=0)


def test_little_memory_splits_the_stacks_and_changes_no_vote(
    bert: Backbone, tuned: Tuned, plans: list[JointPlan]
) -> None:
    least = max(
        plan.tokens // plan.slots * plan.token_bytes + plan.slot_bytes + plan.cached_bytes + plan.begun_bytes
        for plan in plans
    )
    tight = replace(QUICK, memory_bytes=least + least // 10)
    split: list[JointPlan] = []
    found = tune(
        SENTIMENT, ROWS, bert, pool(bert), tight, unlabelled=TEXTS, watcher=Watcher(on_plan=split.append)
    )  # fmt: skip
    assert len(plans) == len(split) == QUICK.folds + 1  # and that of the students
    assert all(plan.slots == plan.modules for plan in plans)
    assert any(plan.slots < plan.modules for plan in split)
    assert all(plan.peak_bytes <= least + least // 10 for plan in split)
    assert found.vote.accuracy == tuned.vote.accuracy
    assert found.vote.loss == pytest.approx(tuned.vote.loss, abs=1e-6)


def test_memory_that_holds_no_member_is_refused(bert: Backbone) -> None:
    with pytest.raises(InputError, match=r"training one module takes .* allow more memory"):
        tune(SENTIMENT, ROWS, bert, pool(bert), replace(QUICK, memory_bytes=1 << 10))


def test_member_that_diverges_does_not_vote(bert: Backbone) -> None:
    def make(asked: Asked) -> Trains:
        runs = MemberRuns(asked, bert, QUICK.of_members(bert))
        return lambda members, on_members=None: (
            {member: each if member.seed else torch.full((1, 1), torch.nan) for member, each in said.items()}
            for said in runs(members, on_members)
        )

    found = tune(SENTIMENT, ROWS, bert, pool(bert), QUICK, trains=make)
    assert found.vote.diverged == found.vote.members // 2
    assert "4 of 8 members diverged" in tuning_report(found)


def test_watcher_hears_of_every_stage_and_of_the_patterns(bert: Backbone) -> None:
    stages: list[str] = []
    standings: list[Sequence[PatternStanding]] = []
    members: list[tuple[int, int]] = []
    watcher = Watcher(stages.append, None, lambda done, total, _: members.append((done, total)), standings.append)
    tune(SENTIMENT, ROWS, bert, pool(bert), QUICK, watcher=watcher)
    assert len(stages) == 5
    assert [all(each.loss is None for each in said) for said in standings] == [True, False]
    assert (8, 8) in members


def test_report_and_plot_show_every_candidate(tuned: Tuned, tmp_path: Path) -> None:
    report = tuning_report(tuned)
    assert all(f"`{each.template}`" in report for each in tuned.patterns)
    assert "has paid for the search" in report
    draw_tuning(tuned.patterns, tmp_path / "patterns.svg")
    assert (tmp_path / "patterns.svg").read_text().lstrip().startswith("<?xml")


def test_work_of_other_rows_is_refused(tmp_path: Path) -> None:
    work = Work(tmp_path / "work", {"rows": "those"})
    work.keep("a", torch.ones(2, 2))
    assert torch.equal(Work(tmp_path / "work", {"rows": "those"}).find("a"), torch.ones(2, 2))  # type: ignore[arg-type]
    assert work.find("b") is None
    with pytest.raises(InputError, match="holds the work of other rows"):
        Work(tmp_path / "work", {"rows": "others"})
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(InputError, match="no work of tuning"):
        Work(tmp_path / "else", {})


def test_tuning_refuses_what_it_cannot_do(bert: Backbone) -> None:
    with pytest.raises(DataError, match="8 labelled rows or more, and there are 6"):
        tune(SENTIMENT, SENTIMENT_ROWS, bert, pool(bert), QUICK)
    with pytest.raises(InputError, match="single-label tasks alone"):
        tune(SENTIMENT.model_copy(update={"type": "multi-label"}), ROWS, bert, pool(bert), QUICK)
    with pytest.raises(InputError, match="no patterns"):
        tune(SENTIMENT, ROWS, bert, [], QUICK)
    with pytest.raises(InputError, match="two folds or more"):
        TuneOptions(folds=1)
    with pytest.raises(InputError, match="1 or 2 generations, not 3"):
        TuneOptions(generations=3)
    with pytest.raises(InputError, match="two generations learn from texts without labels: give some"):
        tune(SENTIMENT, ROWS, bert, pool(bert), replace(QUICK, generations=2))


def test_two_generations_end_with_a_module_too(bert: Backbone) -> None:
    found = tune(SENTIMENT, ROWS, bert, pool(bert)[:1], replace(QUICK, generations=2), unlabelled=TEXTS)
    assert found.finalists[0].rows == len(ROWS)
    assert 0 <= found.accuracy <= 1
