"""Trains many modules in one pass over one frozen backbone; each comes out as if it had been trained alone.

Modules wait in a queue for one of a number of slots. A step draws the rows of every slot, runs them side by side
through the frozen layers once, and moves each module's weights by its own loss, learning rate, schedule and clipping.
A slot whose module has taken its steps goes to the next one in the queue. Where all adapters are in upper layers, the
states below the lowest of them are made once per text, whichever modules, epochs, folds and seeds read it.

Against `train_plain` two things differ, and neither where dropout is off: dropout comes from a generator per module, so
that a module does not depend on its neighbours; and layers below a module's lowest adapter drop nothing.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from petapter.adapters import AdapterChoice, AdapterSlots, Claim
from petapter.backbone import Backbone
from petapter.golden import probe_texts, record_golden
from petapter.joint.memory import JointPlan, plan_memory
from petapter.joint.optimizer import update
from petapter.joint.passes import Asked, LowerStates, Passes
from petapter.joint.runs import Begun, JointRun, Slot, begin
from petapter.runtime.banks import Form, form_of
from petapter.runtime.engine import Engine
from petapter.scoring import Scores
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.record import Outcome, peak_memory_bytes
from petapter.training.trainer import RunResult, TrainingRun, collect_module, tell_of_random_heads
from petapter.training.trunk import can_cut
from petapter_schemas.errors import InputError

logger = logging.getLogger(__name__)

OnSteps = Callable[[int, int, float], None]
"""Called after each joint step with the steps that all modules have taken, those they are to take, the mean loss."""

_DIVERGED = "training diverged, its loss is no number: choose a lower learning rate"


@dataclass(frozen=True)
class _Group:
    """Runs that train together: their lowest adapted layer is the same.

    Attributes:
        cut: That layer; 0 where layers below it cannot be left out.
        numbers: Of the runs.
    """

    cut: int
    numbers: tuple[int, ...]


def train_jointly(  # noqa: PLR0913 (a door of the library)
    runs: Sequence[JointRun],
    backbone: Backbone,
    *,
    memory_bytes: int | None = None,
    most_slots: int | None = None,
    lower: LowerStates | None = None,
    on_plan: Callable[[JointPlan], None] | None = None,
    on_step: OnSteps | None = None,
) -> list[TrainedModule | InputError]:
    """Train modules together; the backbone is bare again afterwards, also when training fails.

    Args:
        runs: What to train; a module does not depend on which others there are, nor on their order.
        backbone: The frozen masked language model, in float32.
        memory_bytes: What all of it may take beside the backbone; None leaves it to the machine (`plan_memory`).
        most_slots: Modules that train at the same time at most; None for as many as the plan has room for.
        lower: States of texts that earlier calls made below the lowest adapted layer; those of new texts are added.
        on_plan: Called with how the memory is shared, before each set of modules whose adapters begin in one layer.
        on_step: Called after each joint step.

    Returns:
        By run its module, or why it has none: its training diverged, which leaves the others alone.

    Raises:
        BackboneError: The backbone lacks a needed part, is there for answers alone, or an engine has it.
        InputError: Not even one module fits the memory.
    """
    backbone.check_trains()
    tell_of_random_heads((run.recipe for run in runs), backbone)
    begun = _begin(runs, backbone)
    total = sum(run.recipe.options.steps or 0 for run in runs)
    told = _Told(on_plan, on_step, total)
    found: dict[int, TrainedModule | InputError] = {}
    for group in _groups(begun, backbone):
        found |= _Together(runs, begun, backbone, group, told, lower).train(memory_bytes, most_slots)
    modules = {number: module for number, module in found.items() if isinstance(module, TrainedModule)}
    checked: dict[int, TrainedModule | InputError] = {**found, **_with_golden(modules, backbone)}
    return [checked[number] for number in range(len(runs))]


def _begin(runs: Sequence[JointRun], backbone: Backbone) -> list[Begun]:
    """Where each run starts; what peft makes of a seed and a form is made once, however many begin there."""
    slots = AdapterSlots(backbone.model)
    made: dict[tuple[int, AdapterChoice, int], Begun] = {}
    try:
        for run in runs:
            if (key := _start_of(run)) not in made:
                made[key] = begin(slots, run.recipe, backbone)
        return [made[_start_of(run)] for run in runs]
    finally:
        slots.close()


def _start_of(run: JointRun) -> tuple[int, AdapterChoice, int]:
    """What decides where a run starts."""
    options = run.recipe.options
    return options.seed, options.adapter_choice, id(run.recipe.start)


def _groups(begun: Sequence[Begun], backbone: Backbone) -> list[_Group]:
    by_cut: dict[int, list[int]] = {}
    for number, each in enumerate(begun):
        layers = range(backbone.layers) if each.spec.layers is None else each.spec.layers
        lowest = backbone.layers - 1 if each.spec.kind == "none" else min(layers)
        by_cut.setdefault(lowest if can_cut(backbone) else 0, []).append(number)
    return [_Group(cut, tuple(numbers)) for cut, numbers in sorted(by_cut.items())]


class _Told:
    """Tells how far all runs are."""

    def __init__(self, on_plan: Callable[[JointPlan], None] | None, on_step: OnSteps | None, total: int) -> None:
        self._on_plan, self._on_step, self._total, self._done = on_plan, on_step, total, 0

    def plan(self, plan: JointPlan) -> None:
        """Runs are about to begin."""
        logger.info("%s", plan)
        if self._on_plan is not None:
            self._on_plan(plan)

    def step(self, modules: int, loss: float) -> None:
        """So many modules have taken a step."""
        self._done += modules
        if self._on_step is not None:
            self._on_step(self._done, self._total, loss)


class _Together:
    """The runs of a group while they train."""

    def __init__(
        self,
        runs: Sequence[JointRun],
        begun: Sequence[Begun],
        backbone: Backbone,
        group: _Group,
        told: _Told,
        lower: LowerStates | None,
    ) -> None:
        self._runs, self._begun, self._backbone, self._told = runs, begun, backbone, told
        self._claim = Claim(backbone.model, self)
        self._queue = list(reversed(group.numbers))
        self._passes = Passes(backbone, group.cut, lower)
        self._found: dict[int, TrainedModule | InputError] = {}

    def train(self, memory_bytes: int | None, most_slots: int | None) -> dict[int, TrainedModule | InputError]:
        """By number of the run its module, without golden outputs, or why there is none."""
        try:
            self._cache()
            plan = plan_memory(
                [self._runs[number] for number in self._queue],
                self._first(),
                self._passes,
                self._backbone,
                memory_bytes,
            )
            self._told.plan(plan)
            most = min(plan.slots, most_slots or plan.slots)
            active: list[Slot] = []
            while self._queue or active:
                while self._queue and len(active) < most:
                    active.append(self._take(self._queue.pop()))
                self._step(active, plan)
                active = [slot for slot in active if not self._has_ended(slot)]
            return self._found
        finally:
            self._passes.close()
            self._claim.release()
            self._backbone.model.eval()

    def _cache(self) -> None:
        for number in self._queue:
            for windows in self._runs[number].rows.encoded:
                self._passes.cache(windows.encoded)

    def _first(self) -> list[Slot]:
        """One slot of each form, to measure what they take."""
        forms: dict[Form, int] = {}
        for number in reversed(self._queue):
            forms.setdefault(form_of(self._begun[number].spec), number)
        return [self._take(number) for number in forms.values()]

    def _take(self, number: int) -> Slot:
        run, begun = self._runs[number], self._begun[number]
        bank = self._passes.bank_of(begun.spec, run.recipe.options.adapter_choice.dropout)
        return Slot(number, run, begun, bank, self._backbone)

    def _step(self, active: Sequence[Slot], plan: JointPlan) -> None:
        began = time.perf_counter()
        asked = [Asked(slot, slot.draw()) for slot in active]
        said: dict[int, float] = {}
        for part in self._passes.split(asked, plan.tokens):
            losses = self._passes.losses(part)
            losses.sum().backward()
            said |= zip((each.slot.number for each in part), losses.tolist(), strict=True)
        for slot in active:
            if not math.isfinite(said[slot.number]):
                self._found[slot.number] = InputError(_DIVERGED)
        going = [slot for slot in active if slot.number not in self._found]
        update([slot.weights for slot in going], [slot.factor for slot in going])
        seconds = time.perf_counter() - began
        tokens = sum(each.drawn.tokens for each in asked)
        for each in asked:
            each.slot.seconds += seconds * each.drawn.tokens / tokens
        self._told.step(len(active), sum(said.values()) / len(said))

    def _has_ended(self, slot: Slot) -> bool:
        if slot.number in self._found:
            return True
        if slot.is_done:
            self._found[slot.number] = self._collected(slot)
        return slot.is_done

    def _collected(self, slot: Slot) -> TrainedModule:
        run = TrainingRun(slot.run.recipe, slot.run.rows, self._backbone, slot.head)
        outcome = Outcome(slot.step, slot.seconds, peak_memory_bytes(self._backbone))
        texts = probe_texts(slot.run.rows.task.fields)
        nothing_yet = record_golden(texts, Scores(torch.zeros(len(texts), slot.head.labels), ()))
        return collect_module(run, slot.verbalizer, RunResult(slot.begun.spec, slot.tensors(), nothing_yet, outcome))


def _with_golden(modules: dict[int, TrainedModule], backbone: Backbone) -> dict[int, TrainedModule | InputError]:
    """The modules with what they say of the probe texts, all asked together."""
    asked: list[tuple[str, Fields]] = []
    with Engine(backbone) as engine:
        for number, module in modules.items():
            engine.load(module, str(number))
            asked += [(str(number), probe.fields) for probe in module.golden.probes]
        scores = engine.score(asked)
    found: dict[int, TrainedModule | InputError] = {}
    for number, module in modules.items():
        said = scores[str(number)]
        if not bool(torch.isfinite(said.log_probabilities).all()):
            found[number] = InputError(_DIVERGED)
            continue
        texts = [dict(probe.fields) for probe in module.golden.probes]
        found[number] = replace(module, golden=record_golden(texts, said))
    return found
