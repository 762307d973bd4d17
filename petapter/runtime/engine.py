"""Keeps several modules on one resident backbone and answers for any mixture of them."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from petapter.backbone import Backbone, Precision
from petapter.golden import check_golden
from petapter.module import open_module
from petapter.runtime.ahead import made_ahead
from petapter.runtime.answers import Examined, Prediction, Voice, examined, predictions
from petapter.runtime.ensembles import Ensemble, Spread, joined
from petapter.runtime.residency import Residency
from petapter.runtime.runner import Runner, check_can_run
from petapter.runtime.staging import Ready
from petapter.runtime.stats import EngineStats
from petapter.runtime.turns import Pieces, finish
from petapter.runtime.work import Formed, Loaded, Work, fields_of
from petapter.scoring import Scores, one_after_another
from petapter.task.encoding import Fields
from petapter.task.examples import Example
from petapter.task.verbalizer import read_verbalizer
from petapter.trained import TrainedModule, with_patterns
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import EvaluationSpec

_PROBES = 2
"""Golden outputs that are reproduced in a piece."""


class Engine:
    """Modules by alias on one backbone, asked in any mixture at the price of the backbone alone.

    Encodings of all modules are packed into passes without padding; in each, the frozen layers run once for everybody
    and every adapter adds its part to the tokens of its own module. An answer does not depend on what else is loaded or
    asked. The engine owns its backbone until `close`; it is also a context manager.

    Example:
        >>> with Engine(backbone) as engine:
        ...     engine.load(Path("intents"), "intents")
        ...     engine.predict([("intents", "book a table for two")])
    """

    def __init__(self, backbone: Backbone, *, module_bytes: int | None = None, graphs: bool = False) -> None:
        """Claim a backbone.

        Args:
            backbone: Whose device everything runs on.
            module_bytes: What the weights of modules may take on the device. The least recently used beyond it wait in
                host memory and come back when they are asked; the modules of one pass are always there together. None
                keeps all on the device.
            graphs: Record small passes of shapes that come often as CUDA graphs, where the device can.

        Raises:
            BackboneError: Another engine or a training run has it.
            InputError: The limit is below 0.
        """
        if module_bytes is not None and module_bytes < 0:
            raise InputError(f"module_bytes must be 0 or more, not {module_bytes}")
        self._backbone = backbone
        self._runner = Runner(backbone, graphs=graphs)
        self._modules: dict[str, Loaded] = {}
        self._ensembles: dict[str, Ensemble] = {}
        self._kept: dict[int, Ready] = {}
        self._residency = Residency(module_bytes, self._bring, self._runner.forget)
        self._numbers = 0
        self._encodings = self._tokens = 0
        self._seconds = 0.0

    @property
    def aliases(self) -> tuple[str, ...]:
        """Loaded modules and ensembles in order of loading; members of ensembles are left out."""
        return tuple(dict.fromkeys(self._owner(alias) or alias for alias in self._modules))

    @property
    def precision(self) -> Precision:
        """Of the backbone's layers: answers in one are not those in another."""
        return self._backbone.precision

    def load(
        self,
        module: Path | TrainedModule,
        alias: str,
        *,
        check: bool = False,
        patterns: Sequence[int] | None = None,
    ) -> None:
        """Make a module ready to answer.

        Args:
            module: A module directory, or a module just trained on this backbone.
            alias: The name to call it by.
            check: Also reproduce its golden outputs, which are of all patterns.
            patterns: Numbers, from 0, of the patterns whose mean it answers by; None for all.

        Raises:
            InputError: The alias is taken, or there is no such pattern.
            ModuleError: The directory must not be used, or the golden outputs are not reproduced.
            BackboneMismatchError: The module belongs to another backbone.
        """
        finish(self.load_in_pieces(module, alias, check=check, patterns=patterns, probes=sys.maxsize))

    def load_in_pieces(
        self,
        module: Path | TrainedModule,
        alias: str,
        *,
        check: bool = False,
        patterns: Sequence[int] | None = None,
        probes: int = _PROBES,
    ) -> Pieces[None]:
        """As `load`, but other modules may be asked, loaded and unloaded wherever it yields; this one after the end.

        It begins, and takes the alias, with the first piece; `probes` golden outputs are reproduced in one.
        """
        self._check_free(alias)
        opened = open_module(module, self._backbone) if isinstance(module, Path) else self._fitting(module)
        check_can_run(alias, opened)
        chosen = opened if patterns is None else with_patterns(opened, patterns)
        if check:
            self._admit(alias, opened)
            yield from self._check(alias, opened, probes)
            if patterns is None:
                return
            self.unload(alias)
        self._admit(alias, chosen)

    def load_ensemble(
        self,
        members: Mapping[str, Path | TrainedModule],
        alias: str,
        weights: Sequence[float] | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        check: bool = False,
    ) -> None:
        """Make several modules answer together under one alias (formula in petapter/runtime/ensembles.py).

        Each is a module like any other, loaded as `alias/name`, so that all run in the same pass.

        Args:
            members: By name; of one type of task and the same labels in the same order, else as different as they like.
            alias: The name to call them by.
            weights: What each counts, in their order; None counts all alike.
            thresholds: By label, from which probability on a multi-label ensemble gives it; None is 0.5.
            check: Also reproduce the golden outputs of each.

        Raises:
            InputError: An alias is taken, or members, weights or thresholds do not fit; nothing stays loaded.
            ModuleError: As `load`.
            BackboneMismatchError: As `load`.
        """
        finish(
            self.load_ensemble_in_pieces(
                members, alias, weights, thresholds=thresholds, check=check, probes=sys.maxsize
            )
        )

    def load_ensemble_in_pieces(
        self,
        members: Mapping[str, Path | TrainedModule],
        alias: str,
        weights: Sequence[float] | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        check: bool = False,
        probes: int = _PROBES,
    ) -> Pieces[None]:
        """As `load_ensemble`, in pieces as `load_in_pieces` makes them."""
        self._check_free(alias)
        loaded: list[str] = []
        try:
            for name, module in members.items():
                yield from self.load_in_pieces(module, f"{alias}/{name}", check=check, probes=probes)
                loaded.append(f"{alias}/{name}")
            modules = {member: self._modules[member].module for member in loaded}
            self._ensembles[alias] = joined(modules, weights, thresholds)
        except BaseException:  # also where nobody goes on
            for member in loaded:
                self.unload(member)
            raise

    def unload(self, alias: str) -> None:
        """Forget a module, or an ensemble with its members, and free its memory; the others are not touched.

        Raises:
            InputError: No module has this alias, or it belongs to an ensemble.
        """
        if alias in self._ensembles:
            for member in self._ensembles.pop(alias).members:
                self.unload(member)
            return
        if owner := self._owner(alias):
            raise InputError(f"{alias!r} is a member of the ensemble {owner!r}: unload that")
        number = self._named(alias).number
        del self._modules[alias]
        self._residency.drop(number)
        self._kept.pop(number, None)

    def voice(self, alias: str) -> Voice:
        """By what a module or an ensemble makes answers of its scores.

        Raises:
            InputError: No module has this alias.
        """
        if alias in self._ensembles:
            return self._ensembles[alias].voice
        module = self._named(alias).module
        return Voice(module.task, module.calibration, module.training.seeds)

    def is_resident(self, alias: str) -> bool:
        """Whether the weights of a module, or of all members of an ensemble, are on the device.

        Raises:
            InputError: No module has this alias.
        """
        ensemble = self._ensembles.get(alias)
        names = (alias,) if ensemble is None else ensemble.members
        return all(self._named(name).number in self._residency for name in names)

    def close(self) -> None:
        """Unload everything and give the backbone back."""
        for alias in self.aliases:
            self.unload(alias)
        self._runner.close()

    def stats(self) -> EngineStats:
        """What the engine holds and has done."""
        return EngineStats(
            modules=len(self._modules),
            resident=len(self._residency),
            resident_bytes=self._residency.bytes,
            host_bytes=sum(ready.nbytes for ready in self._kept.values()),
            hits=self._residency.hits,
            misses=self._residency.misses,
            encodings=self._encodings,
            tokens=self._tokens,
            seconds=self._seconds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def predict(self, requests: Sequence[tuple[str, str | Fields]]) -> list[Prediction]:
        """Answer requests, each a module's alias and a text (or its fields), in their order.

        Raises:
            InputError: An alias is not loaded, or a text lacks a field or holds half a character.
        """
        texts = [(alias, self._fields(alias, text)) for alias, text in requests]
        answers: dict[int, Prediction] = {}
        for alias, (numbers, scores) in self._score(texts).items():
            voice = self.voice(alias)
            said = predictions(alias, voice.task, voice.calibration, scores)
            answers |= dict(zip(numbers, said, strict=True))
        return [answers[number] for number in range(len(requests))]

    def predict_all(self, texts: Sequence[str | Fields], aliases: Sequence[str] = ()) -> list[dict[str, Prediction]]:
        """Answer every text with every module (or the named ones): one mapping from alias to answer per text.

        Raises:
            InputError: An alias is not loaded, or a text lacks a field or holds half a character.
        """
        chosen = tuple(aliases) or self.aliases
        flat = self.predict([(alias, text) for text in texts for alias in chosen])
        width = len(chosen)
        return [dict(zip(chosen, flat[i * width : (i + 1) * width], strict=True)) for i in range(len(texts))]

    def evaluate(
        self, alias: str, examples: Sequence[Example], *, name: str, split: str = "test"
    ) -> tuple[EvaluationSpec, ...]:
        """Measure a module or an ensemble on labelled rows: accuracy and macro-F1 first, then its probabilities.

        Of a multi-label one: the figures of `evaluate_multilabel`.

        Raises:
            InputError: The alias is not loaded, there are no rows, or a label is not the module's.
        """
        return self.examine(alias, examples, name=name, split=split).figures

    def examine(self, alias: str, examples: Sequence[Example], *, name: str, split: str = "test") -> Examined:
        """Measure as `evaluate` does, and count which labels were taken for which.

        Raises:
            InputError: As `evaluate`.
        """
        voice = self.voice(alias)
        scores = self._score_all(alias, [self._fields(alias, example.fields) for example in examples])
        return examined(voice, torch.exp(scores.log_probabilities).tolist(), examples, name=name, split=split)

    def score(self, requests: Sequence[tuple[str, Fields]]) -> dict[str, Scores]:
        """By alias what a module or an ensemble says of its texts, in the order in which these were asked.

        Raises:
            InputError: An alias is not loaded, or a text lacks a field or holds half a character.
        """
        asked = [(alias, self._fields(alias, text)) for alias, text in requests]
        return {alias: scores for alias, (_, scores) in self._score(asked).items()}

    def _fitting(self, module: TrainedModule) -> TrainedModule:
        """A module from memory, refused as `open_module` refuses one from a directory."""
        self._backbone.check_fits(module.backbone, read_verbalizer(module.task, self._backbone.tokenizer))
        return module

    def _admit(self, alias: str, opened: TrainedModule) -> None:
        ready = self._runner.ready(opened)
        number, self._numbers = self._numbers, self._numbers + 1
        if self._residency.budget is not None:
            self._kept[number] = self._runner.staging.kept(ready)
        self._residency.add(number, self._runner.put(number, ready))
        form = Formed(ready.bank, self._runner.lowest_of(ready.bank))
        self._modules[alias] = Loaded.of(number, opened, form, self._backbone)

    def _bring(self, number: int) -> int:
        return self._runner.put(number, self._runner.staging.sent(self._kept[number]))

    def _check(self, alias: str, module: TrainedModule, probes: int) -> Pieces[None]:
        texts = [probe.fields for probe in module.golden.probes]
        try:
            for first in range(0, len(texts), probes):
                yield
                part = [self._fields(alias, fields) for fields in texts[first : first + probes]]
                check_golden(module.golden, self._score_all(alias, part), first)
        except BaseException:  # also where nobody goes on
            self.unload(alias)
            raise

    def _score_all(self, alias: str, texts: Sequence[Fields]) -> Scores:
        """What one module or ensemble says of texts."""
        if not texts:
            return Scores(torch.zeros(0, len(self.voice(alias).task.labels)), ())
        return self._score([(alias, text) for text in texts])[alias][1]

    def _score(self, requests: Sequence[tuple[str, Fields]]) -> dict[str, tuple[list[int], Scores]]:
        """By alias, the numbers of its requests and what the module or ensemble says of their texts."""
        if not self._ensembles:
            return self._score_modules(requests)
        spread = Spread.of(requests, self._ensembles)
        return spread.gathered(self._score_modules(spread.asked))

    @torch.inference_mode()
    def _score_modules(self, requests: Sequence[tuple[str, Fields]]) -> dict[str, tuple[list[int], Scores]]:
        """By alias of a module, the numbers of its requests and what it says of their texts."""
        size = self._runner.ways.ahead or len(requests)
        parts = [range(len(requests))[start : start + size] for start in range(0, len(requests), size or 1)]
        said: dict[str, tuple[list[int], list[Scores]]] = {}
        for numbers_of, work in made_ahead(lambda part: self._encoded(requests, part), parts):
            logits = self._run(work)
            for alias, numbers in numbers_of.items():
                loaded = self._named(alias)
                known, scores = said.setdefault(alias, ([], []))
                known += numbers
                scores.append(work.scores(logits, loaded.number, loaded.module))
        return {alias: (numbers, one_after_another(scores)) for alias, (numbers, scores) in said.items()}

    def _encoded(self, requests: Sequence[tuple[str, Fields]], part: range) -> tuple[dict[str, list[int]], Work]:
        """Some of the requests by alias, and their texts as what is to be run."""
        numbers_of: dict[str, list[int]] = {}
        for number in part:
            numbers_of.setdefault(requests[number][0], []).append(number)
        work = Work()
        for alias, numbers in numbers_of.items():
            work.add(self._named(alias), [requests[number][1] for number in numbers])
        return numbers_of, work

    def _run(self, work: Work) -> Tensor:
        began = time.perf_counter()
        logits = self._runner.run(work, self._residency.use)
        self._seconds += time.perf_counter() - began
        self._encodings += len(work.items)
        self._tokens += sum(item.length for item in work.items)
        return logits

    def _fields(self, alias: str, text: str | Fields) -> Fields:
        if (ensemble := self._ensembles.get(alias)) is not None:
            by_member = [self._fields(member, text) for member in ensemble.members]
            return {name: part for fields in by_member for name, part in fields.items()}
        return fields_of(alias, self._named(alias).module.task.fields, text)

    def _owner(self, alias: str) -> str | None:
        """The ensemble that a module belongs to, if any."""
        return next((name for name, ensemble in self._ensembles.items() if alias in ensemble.members), None)

    def _check_free(self, alias: str) -> None:
        if alias in self._modules or alias in self._ensembles:
            raise InputError(f"a module is already loaded as {alias!r}: choose another alias or unload it")

    def _named(self, alias: str) -> Loaded:
        if alias not in self._modules:
            loaded = ", ".join(self.aliases) or "none"
            raise InputError(f"no module is loaded as {alias!r} (loaded: {loaded})")
        return self._modules[alias]
