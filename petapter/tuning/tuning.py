"""Finds out in which patterns to ask, by labelled rows alone; ends with one module and a score that can be believed.

For every fold of the rows, with the other rows alone:

0. Where that is asked, further label words are mined (petapter/tuning/words.py).
1. The pool's patterns are ranked by convex heads on frozen features (petapter/tuning/frozen.py), and the best chosen.
2. Members are trained in each of these, with several seeds; members of all folds share one pass over the backbone.
3. The members and the convex head vote, and a student learns what they vote (petapter/tuning/students.py); the convex
   head is added to its label map (petapter/tuning/heads.py). What the student says is calibrated as all modules are, by
   the rows left out; members are not, each before it votes: what members of other folds say of rows could tell how sure
   they are, but these were trained with the labels of the fold.

What vote and student then say of the fold has paid for the whole search, which never saw it: cross-validation within
cross-validation (Varma and Simon 2006). On all rows the same gives the module `distilled`, taught by the members of all
folds. Beside it preset `strong` trains on all rows in the best patterns; its patterns were chosen with all rows, so the
gain that patterns show by such a choice is taken from its score. A further student may begin at the adapter of another
task's module (petapter/tuning/learnt.py). The one that loses less is shipped, on the rows that all were left without:
where `strong` has a delta, half of them. The score of a student rests on all rows all the same.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.evaluation.comparison import paired_difference
from petapter.evaluation.pairs import wilson_interval
from petapter.scoring import calibrated
from petapter.selection.choosing import choose
from petapter.selection.grouped_folds import grouped_folds
from petapter.selection.pattern_pool import PooledPattern
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.evidence import row_weights, targets_of
from petapter.training.out_of_fold import calibration_from
from petapter.training.profiling import LeftOut
from petapter.training.strong import train_strong
from petapter.training.warm_start import AdapterStart
from petapter.tuning.distilling import Teaching, voted
from petapter.tuning.frozen import FrozenPool, Ranking
from petapter.tuning.learnt import Learnt, dressed
from petapter.tuning.members import Asked, Member, MemberRuns, OnMembers, Trains
from petapter.tuning.options import TuneOptions
from petapter.tuning.outcome import DISTILLED, STRONG, TRANSFERRED, Finalist, PatternStanding, Tuned, Voted
from petapter.tuning.students import Pupil, School
from petapter.tuning.watching import Watcher
from petapter.tuning.words import FoldWords, mine_in_folds
from petapter.tuning.work import Work
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

_LEAST_ROWS = 8


@dataclass(frozen=True)
class _Search(Asked):
    """What is asked of members, and what they need not know.

    Attributes:
        words: Label words that were mined; None where that was not asked.
        start: What a further student begins with, if there is to be one.
    """

    words: FoldWords | None = None
    start: AdapterStart | None = None


def tune(  # noqa: PLR0913 (a door of the library)
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    patterns: Sequence[PooledPattern],
    options: TuneOptions | None = None,
    *,
    unlabelled: Sequence[Fields] = (),
    start: AdapterStart | None = None,
    work: Work | None = None,
    trains: Callable[[Asked], Trains] | None = None,
    watcher: Watcher | None = None,
) -> Tuned:
    """Choose patterns and train one module; the backbone is bare again afterwards.

    Args:
        task: Labels and words of a single-label task.
        examples: Labelled rows, eight or more.
        backbone: With a masked-LM head.
        patterns: The pool, see `pattern_pool`.
        options: How.
        unlabelled: Texts of the same kind without labels, from which the student learns the vote.
        start: The adapter of another task's module; a further student begins with it, and stays if rows that were left
            out prefer it (`start_of`).
        work: Remembers what members said, so that a tuning that was killed goes on.
        trains: Makes what trains the members; here and in one process by default.
        watcher: Hears how it goes.

    Raises:
        InputError: The task is multi-label, there is no pattern, two generations have no texts, or a label has too few
            texts to leave any out.
        DataError: There are fewer than eight rows.
        TaskError: The task or the rows cannot work.
        BackboneError: The backbone has no masked-LM head, or an engine has it.
    """
    options, watcher = options or TuneOptions(), watcher or Watcher()
    _check(task, examples, backbone, patterns)
    if options.generations > 1 and not unlabelled:
        raise InputError("two generations learn from texts without labels: give some, or take one generation")
    folds = grouped_folds(task, examples, options.folds)
    asked = _Search(task, patterns, examples, list(unlabelled), folds, start=start)
    if options.mine_words:
        watcher.on_stage("mining label words")
        rows = (examples, asked.unlabelled)
        words = mine_in_folds(task, patterns, rows, folds, backbone, watcher.on_members)
        asked = replace(asked, labels=words.labels, words=words)
    make = trains or (
        lambda about: MemberRuns(
            about,
            backbone,
            options.of_members(backbone),
            at_once=options.at_once,
            memory_bytes=options.memory_bytes,
            on_plan=watcher.on_plan,
        )
    )
    return _Tuning(asked, backbone, options, make(asked), work, watcher).run()


def _check(task: TaskSpec, examples: Sequence[Example], backbone: Backbone, patterns: Sequence[PooledPattern]) -> None:
    if task.type != "single-label":
        raise InputError("tuning knows single-label tasks alone: train multi-label ones by 'petapter train'")
    if not patterns:
        raise InputError("there are no patterns to choose from: give one at least")
    if len(examples) < _LEAST_ROWS:
        raise DataError(
            f"tuning needs {_LEAST_ROWS} labelled rows or more, and there are {len(examples)}: label more, or train "
            "without choosing"
        )
    backbone.check_trains()
    if not backbone.has_mlm_head:
        raise InputError(f"{backbone.repo} comes without a masked-LM head, which patterns need: take another backbone")


class _Tuning:
    """One tuning on its way."""

    def __init__(
        self,
        asked: _Search,
        backbone: Backbone,
        options: TuneOptions,
        trains: Trains,
        work: Work | None,
        watcher: Watcher,
    ) -> None:
        self._asked, self._backbone, self._options = asked, backbone, options
        self._trains, self._work, self._watcher = trains, work, watcher
        self._task, self._examples, self._folds = asked.task, asked.examples, asked.folds
        self._targets = targets_of(asked.task, asked.examples)
        self._gold = self._targets.argmax(dim=1)

    def run(self) -> Tuned:
        began = time.perf_counter()
        watcher, every_row = self._watcher, range(len(self._examples))
        watcher.on_stage("reading the rows in every pattern")
        rows = (self._examples, self._asked.unlabelled)
        frozen = FrozenPool.read(self._asked.patterns, self._task, rows, self._backbone, watcher.on_pattern)
        watcher.on_stage("ranking the patterns")
        of_fold = [self._with_words(frozen, fold) for fold in range(self._folds.count)]
        of_all = self._with_words(frozen, None)
        every = of_all.ranked(every_row, self._options.patterns)
        ranked = [pool.ranked(self._seen(fold), self._options.patterns) for fold, pool in enumerate(of_fold)]
        watcher.on_standings(self._standings(every, ranked, {}))
        watcher.on_stage("training members")
        members = [
            Member(fold, pattern, seed)
            for fold, ranking in enumerate(ranked)
            for pattern in ranking.chosen
            for seed in range(self._options.seeds)
        ]
        said = self._said(members)
        standings = self._standings(every, ranked, said)
        watcher.on_standings(standings)
        heads = [of_fold[fold].says(ranking.together, self._seen(fold)) for fold, ranking in enumerate(ranked)]
        votes = [voted(_of_fold(said, fold), head) for fold, head in enumerate(heads)]
        teacher = voted(list(said.values()), of_all.says(every.together, every_row))
        watcher.on_stage("distilling the vote")
        pupils = [
            Pupil(
                self._in_patterns(ranking.chosen, fold),
                self._seen(fold),
                votes[fold],
                self._folds.rows(fold),
                of_fold[fold].head(ranking.chosen, self._seen(fold)),
            )
            for fold, ranking in enumerate(ranked)
        ]
        whole = of_all.head(every.chosen, every_row)
        pupils.append(Pupil(self._in_patterns(every.chosen, None), every_row, teacher, head=whole))
        learnt = [self._students(DISTILLED, pupils)]
        if self._asked.start is not None:
            watcher.on_stage("distilling it into the module to begin with")
            learnt.append(self._students(TRANSFERRED, pupils))
        watcher.on_stage("training preset strong in the best patterns")
        strong, strong_left_out = self._strong(every)
        vote_left_out = self._joined(votes)
        optimism = _optimism(self._correct(every.left_out), self._correct(self._joined(heads)))
        loss_optimism = _optimism(-self._losses(every.left_out), -self._losses(self._joined(heads)))
        at = list(strong_left_out.rows or every_row)
        strong_said = torch.log_softmax(calibrated(strong_left_out.logits.cpu(), strong_left_out.calibration), dim=-1)
        of_strong = torch.zeros(len(every_row), len(self._task.labels), dtype=torch.float64)
        of_strong[at] = strong_said.double()
        choice = choose(
            (*(each.name for each in learnt), STRONG),
            torch.stack(
                [*(self._losses(each.said) for each in learnt), self._losses(of_strong) + loss_optimism]
            ).numpy(),
            torch.stack([self._correct(each) for each in (*(own.said for own in learnt), of_strong)]).numpy(),
            [*(every_row for _ in learnt), at],
        )
        finalists = (
            *(self._finalist(each.name, each.said, vote_left_out, list(every_row)) for each in learnt),
            self._finalist(STRONG, strong_said, vote_left_out, at),
        )
        seconds = time.perf_counter() - began
        module = strong
        if choice.chosen < len(learnt):
            module = dressed(learnt[choice.chosen], self._asked, self._options, self._backbone, seconds)
        return Tuned(
            module=module,
            patterns=tuple(
                replace(each, is_asked=each.template in {p.template for p in module.task.patterns})
                for each in standings
            ),
            vote=self._voted(vote_left_out, len(members), len(said)),
            finalists=finalists,
            choice=choice,
            optimism=optimism,
            notes=self._folds.notes,
            seconds=seconds,
            words=self._asked.words,
        )

    def _with_words(self, pool: FrozenPool, fold: int | None) -> FrozenPool:
        return pool.with_words(self._asked.task_in(fold), self._asked.patterns, self._backbone)

    def _seen(self, fold: int) -> list[int]:
        out = set(self._folds.rows(fold))
        return [row for row in range(len(self._examples)) if row not in out]

    def _said(self, members: Sequence[Member]) -> dict[Member, Tensor]:
        """What members say, of those that an earlier run did not finish after training them."""
        found: dict[Member, Tensor] = {}
        waiting: list[Member] = []
        for member in members:
            kept = None if self._work is None else self._work.find(self._name(member))
            if kept is None:
                waiting.append(member)
            else:
                found[member] = kept
        tell = self._watcher.on_members
        with closing(self._trains(waiting, tell and _told(tell, len(found), len(members)))) as parts:
            for member, said in chain.from_iterable(part.items() for part in parts):
                if self._work is not None:
                    self._work.keep(self._name(member), said)
                found[member] = said
        return {member: found[member] for member in members if bool(torch.isfinite(found[member]).all())}

    def _name(self, member: Member) -> str:
        return f"{self._asked.patterns[member.pattern].pattern.model_dump_json()} {member.seed} {member.fold}"

    def _students(self, name: str, pupils: Sequence[Pupil]) -> Learnt:
        """Students of folds that neither they nor their teachers saw, and last that of all rows."""
        options = self._options
        tell, texts = self._watcher.on_members, self._asked.unlabelled
        start = self._asked.start if name == TRANSFERRED else None
        school = School(
            (self._examples, texts),
            Teaching(options.own_share, options.temperature, options.of_student(self._backbone, len(texts)), start),
            self._backbone,
            memory_bytes=options.memory_bytes,
            on_plan=self._watcher.on_plan,
            on_step=None if tell is None else lambda done, total, loss: tell(done, total, f"loss {loss:.3f}"),
        )
        *students, student = school.teach(pupils, options.generations)
        left_out = torch.zeros(len(self._examples), len(self._task.labels), dtype=torch.float64)
        for pupil, each in zip(pupils, students, strict=False):
            left_out[list(pupil.left_out)] = each.said.double()
        calibration = calibration_from(self._task, left_out, self._targets, self._row_weights())
        return Learnt(name, student.module, left_out, calibration)

    def _strong(self, every: Ranking) -> tuple[TrainedModule, LeftOut]:
        heard: list[LeftOut] = []
        module = train_strong(
            self._in_patterns(every.together, None),
            self._examples,
            self._backbone,
            unlabelled=self._asked.unlabelled,
            on_left_out=heard.append,
        )
        found = {"tuned": True, "pool": len(self._asked.patterns)}
        record = module.training.model_copy(update={"hyperparameters": module.training.hyperparameters | found})
        return replace(module, training=record), heard[0]

    def _in_patterns(self, chosen: Sequence[int], fold: int | None) -> TaskSpec:
        patterns = tuple(self._asked.patterns[number].pattern for number in chosen)
        return self._asked.task_in(fold).model_copy(update={"patterns": patterns})

    def _joined(self, by_fold: Sequence[Tensor]) -> Tensor:
        """Of each row what was said without its fold, [N, L], from what is said of all texts, each [N + U, L]."""
        return torch.stack([by_fold[fold][row].double() for row, fold in enumerate(self._folds.fold_of)])

    def _row_weights(self) -> Tensor:
        return row_weights(self._task, self._examples, self._targets)

    def _losses(self, said: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Of rows, all by default, nats, [R]."""
        gold = self._gold if rows is None else self._gold[list(rows)]
        return -said.double().gather(1, gold.unsqueeze(1)).squeeze(1)

    def _correct(self, said: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Whether rows, all by default, are answered right, [R]."""
        gold = self._gold if rows is None else self._gold[list(rows)]
        return (said.argmax(dim=1) == gold).double()

    def _standings(
        self, every: Ranking, ranked: Sequence[Ranking], said: dict[Member, Tensor]
    ) -> tuple[PatternStanding, ...]:
        standings: list[PatternStanding] = []
        for number, pooled in enumerate(self._asked.patterns):
            own = [(each, self._folds.rows(member.fold)) for member, each in said.items() if member.pattern == number]
            losses = [float(self._losses(each[rows], rows).mean()) for each, rows in own]
            right = [float(self._correct(each[rows], rows).mean()) for each, rows in own]
            standings.append(
                PatternStanding(
                    name=pooled.name,
                    template=pooled.pattern.template,
                    origin=pooled.origin,
                    frozen_loss=every.losses[number],
                    frozen_accuracy=every.accuracies[number],
                    folds=sum(number in ranking.chosen for ranking in ranked),
                    loss=sum(losses) / len(losses) if losses else None,
                    accuracy=sum(right) / len(right) if right else None,
                )
            )
        return tuple(sorted(standings, key=lambda each: each.frozen_loss))

    def _voted(self, left_out: Tensor, members: int, left: int) -> Voted:
        """Of what is said of rows, and how many members were trained and are left."""
        correct = self._correct(left_out)
        return Voted(
            members=members,
            diverged=members - left,
            accuracy=float(correct.mean()),
            interval=wilson_interval(int(correct.sum()), len(correct)),
            loss=float(self._losses(left_out).mean()),
        )

    def _finalist(self, name: str, said: Tensor, vote: Tensor, rows: Sequence[int]) -> Finalist:
        own = said if len(said) == len(rows) else said[list(rows)]
        correct = self._correct(own, rows)
        agrees = (own.argmax(dim=1) == vote[list(rows)].argmax(dim=1)).double()
        return Finalist(
            name=name,
            rows=len(rows),
            accuracy=float(correct.mean()),
            loss=float(self._losses(own, rows).mean()),
            behind_vote=paired_difference(self._correct(vote)[list(rows)].numpy(), correct.numpy()),
            fidelity=None if name == STRONG else float(agrees.mean()),
        )


def _of_fold(said: dict[Member, Tensor], fold: int) -> list[Tensor]:
    return [each for member, each in said.items() if member.fold == fold]


def _optimism(naive: Tensor, nested: Tensor) -> float:
    """By how much a figure [N] looks better than it is; 0 where it does not."""
    return max(0.0, float(naive.mean() - nested.mean()))


def _told(tell: OnMembers, before: int, total: int) -> OnMembers:
    """Members that train now, as those of all."""
    return lambda done, _waiting, words: tell(before + done, total, words)
