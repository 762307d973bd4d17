"""Keeps several modules on one resident backbone and answers for any mixture of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from petapter.adapters import AdapterSlots, check_places, peft_config
from petapter.backbone import Backbone
from petapter.evaluation import Answers, evaluate_label_sets, evaluate_probabilities
from petapter.golden import check_golden
from petapter.head import PetHead, restore_head
from petapter.module import open_module
from petapter.runtime.answers import Prediction, predictions, thresholds
from petapter.scoring import Scores, score
from petapter.task.encoding import Fields
from petapter.task.examples import Example
from petapter.task.verbalizer import read_verbalizer
from petapter.trained import TrainedModule
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.manifest import EvaluationSpec


@dataclass(frozen=True)
class _Resident:
    module: TrainedModule
    head: PetHead


class Engine:
    """Modules by alias on one backbone.

    Rows are grouped by module and length, so each adapter is switched on once per call, not per row. The engine owns
    the adapters in its backbone until `close`; it is also a context manager.

    Example:
        >>> with Engine(backbone) as engine:
        ...     engine.load(Path("intents"), "intents")
        ...     engine.predict([("intents", "book a table for two")])
    """

    def __init__(self, backbone: Backbone) -> None:
        """Claim a backbone.

        Raises:
            BackboneError: Another engine or a training run has it.
        """
        self._backbone = backbone
        self._slots = AdapterSlots(backbone.model)
        self._modules: dict[str, _Resident] = {}
        self._slot_of: dict[str, str] = {}
        self._loaded = 0

    @property
    def aliases(self) -> tuple[str, ...]:
        """Loaded modules in order of loading."""
        return tuple(self._modules)

    def load(self, module: Path | TrainedModule, alias: str, *, check: bool = False) -> None:
        """Make a module ready to answer.

        Args:
            module: A module directory, or a module just trained on this backbone.
            alias: The name to call it by.
            check: Also reproduce its golden outputs.

        Raises:
            InputError: The alias is taken.
            ModuleError: The directory must not be used, or the golden outputs are not reproduced.
            BackboneMismatchError: The module belongs to another backbone.
        """
        if alias in self._modules:
            raise InputError(f"a module is already loaded as {alias!r}: choose another alias or unload it")
        opened = open_module(module, self._backbone) if isinstance(module, Path) else self._fitting(module)
        _check_can_run(alias, opened)
        with torch.random.fork_rng([]):  # new layers draw numbers before they get their weights
            head = restore_head(
                self._backbone, opened.verbalizer, opened.head, len(opened.task.patterns), opened.head_tensors
            )
            self._place(alias, opened)
        self._modules[alias] = _Resident(opened, head)
        if check:
            self._check(alias, opened)

    def unload(self, alias: str) -> None:
        """Forget a module and free its memory; the others are not touched.

        Raises:
            InputError: No module has this alias.
        """
        self._resident(alias)
        del self._modules[alias]
        if slot := self._slot_of.pop(alias, None):
            self._slots.remove(slot)

    def close(self) -> None:
        """Unload everything and give the backbone back."""
        self._slots.close()
        self._modules.clear()
        self._slot_of.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def predict(self, requests: Sequence[tuple[str, str | Fields]]) -> list[Prediction]:
        """Answer requests, each a module's alias and a text (or its fields), in their order.

        Raises:
            InputError: An alias is not loaded, or a text lacks a field.
        """
        answers: dict[int, Prediction] = {}
        for alias in dict.fromkeys(alias for alias, _ in requests):
            rows = [row for row, (name, _) in enumerate(requests) if name == alias]
            texts = [self._fields(alias, requests[row][1]) for row in rows]
            answers |= dict(zip(rows, self._answers(alias, self._score(alias, texts)), strict=True))
        return [answers[row] for row in range(len(requests))]

    def predict_all(self, texts: Sequence[str | Fields], aliases: Sequence[str] = ()) -> list[dict[str, Prediction]]:
        """Answer every text with every module (or the named ones): one mapping from alias to answer per text.

        Raises:
            InputError: An alias is not loaded, or a text lacks a field.
        """
        chosen = tuple(aliases) or self.aliases
        flat = self.predict([(alias, text) for text in texts for alias in chosen])
        width = len(chosen)
        return [dict(zip(chosen, flat[i * width : (i + 1) * width], strict=True)) for i in range(len(texts))]

    def evaluate(
        self, alias: str, examples: Sequence[Example], *, name: str, split: str = "test"
    ) -> tuple[EvaluationSpec, ...]:
        """Measure a module on labelled rows: accuracy and macro-F1 first, then its probabilities.

        Of a multi-label module: the figures of `evaluate_multilabel`.

        Raises:
            InputError: The alias is not loaded, there are no rows, or a label is not the module's.
        """
        module = self._resident(alias).module
        scores = self._score(alias, [example.fields for example in examples])
        probabilities = torch.exp(scores.log_probabilities).tolist()
        seeds = module.training.seeds
        if module.task.type == "multi-label":
            given = (probabilities, thresholds(module.task, module.calibration))
            return evaluate_label_sets(given, module.task, examples, name=name, split=split, seeds=seeds)
        answers = Answers(
            probabilities,
            module.task.label_names,
            module.calibration.abstain_below if module.calibration else None,
        )
        return evaluate_probabilities(answers, examples, name=name, split=split, seeds=seeds)

    def _fitting(self, module: TrainedModule) -> TrainedModule:
        """A module from memory, refused as `open_module` refuses one from a directory."""
        self._backbone.check_fits(module.backbone, read_verbalizer(module.task, self._backbone.tokenizer))
        return module

    def _place(self, alias: str, module: TrainedModule) -> None:
        if module.adapter.kind == "none":
            return
        self._slots.activate(None)
        check_places(module.adapter, self._backbone.model)
        slot = f"m{self._loaded}"
        self._loaded += 1
        self._slots.add(slot, peft_config(module.adapter))
        self._slot_of[alias] = slot
        try:
            self._slots.write(slot, module.adapter_tensors)
        except Exception:
            self._slots.remove(slot)
            del self._slot_of[alias]
            raise

    def _check(self, alias: str, module: TrainedModule) -> None:
        try:
            check_golden(module.golden, self._score(alias, [probe.fields for probe in module.golden.probes]))
        except Exception:
            self.unload(alias)
            raise

    def _score(self, alias: str, texts: Sequence[Fields]) -> Scores:
        resident = self._resident(alias)
        self._slots.activate(self._slot_of.get(alias))
        return score(self._backbone, resident.head, resident.module.task, texts, resident.module.calibration)

    def _answers(self, alias: str, scores: Scores) -> list[Prediction]:
        module = self._resident(alias).module
        return predictions(alias, module.task, module.calibration, scores)

    def _fields(self, alias: str, text: str | Fields) -> Fields:
        fields = self._resident(alias).module.task.fields
        given: Mapping[str, str] = {fields[0]: text} if isinstance(text, str) else text
        if missing := [name for name in fields if name not in given]:
            raise InputError(f"module {alias!r} needs the text fields {', '.join(fields)}: {missing[0]!r} is missing")
        return given

    def _resident(self, alias: str) -> _Resident:
        if alias not in self._modules:
            loaded = ", ".join(self._modules) or "none"
            raise InputError(f"no module is loaded as {alias!r} (loaded: {loaded})")
        return self._modules[alias]


def _check_can_run(alias: str, module: TrainedModule) -> None:
    """Refuse what the format allows but this engine would compute wrongly."""
    head = module.head
    if "int8" in {head.dtype, module.adapter.dtype}:
        raise BackboneError(f"module {alias!r} has int8 weights, which this engine cannot run: upgrade petapter")
