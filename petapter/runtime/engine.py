"""Keeps several modules on one resident backbone and answers for any mixture of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from petapter.adapters import Claim, check_places
from petapter.backbone import Backbone
from petapter.evaluation import Answers, evaluate_label_sets, evaluate_probabilities
from petapter.golden import check_golden
from petapter.head import restore_head
from petapter.module import open_module
from petapter.runtime.answers import Prediction, predictions, thresholds
from petapter.runtime.banks import Active, Bank, Form, Places, form_of
from petapter.runtime.heads import Features, LoadedHead, features_of, label_logits, load_head
from petapter.runtime.last_layer import LastLayer, read_tokens
from petapter.runtime.packed import Read, is_packable, run_pack
from petapter.runtime.plan import Pack, Span, plan, spans_of
from petapter.runtime.work import Work
from petapter.scoring import Scores
from petapter.task.encoding import Encoder, Fields
from petapter.task.examples import Example
from petapter.task.verbalizer import read_verbalizer
from petapter.trained import TrainedModule
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.manifest import EvaluationSpec

TOKENS_PER_PASS = 4096
"""Tokens per pass through the backbone: enough to fill two cores, small enough for a laptop's memory."""

_MOST_READ = 0.8
"""Share of the tokens up to which the last layer leaves the others out: to pick them costs a little too."""


@dataclass(frozen=True)
class _Resident:
    """A loaded module: its number, its facts, and how its patterns are read."""

    number: int
    module: TrainedModule
    encoders: tuple[Encoder, ...]
    bank: int | None


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

    def __init__(self, backbone: Backbone) -> None:
        """Claim a backbone.

        Raises:
            BackboneError: Another engine or a training run has it.
        """
        self._backbone = backbone
        self._claim = Claim(backbone.model, self)
        self._places = Places(backbone.model)
        self._last_layer = LastLayer(backbone.model)
        self._banks: list[Bank] = []
        self._bank_of: dict[Form, int] = {}
        self._heads: dict[int, LoadedHead] = {}
        self._own_features: Features | None = None
        self._modules: dict[str, _Resident] = {}
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
        self._claim.renew()
        opened = open_module(module, self._backbone) if isinstance(module, Path) else self._fitting(module)
        _check_can_run(alias, opened)
        number = self._loaded
        head = self._load_head(opened)
        bank = self._place(number, opened)
        self._loaded += 1
        self._heads[number] = head
        tokenization = opened.task.tokenization
        encoders = tuple(
            Encoder(self._backbone.tokenizer, pattern, self._backbone.max_tokens, tokenization)
            for pattern in opened.task.patterns
        )
        self._modules[alias] = _Resident(number, opened, encoders, bank)
        if check:
            self._check(alias, opened)

    def unload(self, alias: str) -> None:
        """Forget a module and free its memory; the others are not touched.

        Raises:
            InputError: No module has this alias.
        """
        resident = self._resident(alias)
        del self._modules[alias]
        del self._heads[resident.number]
        if resident.bank is not None:
            self._banks[resident.bank].remove(resident.number)

    def close(self) -> None:
        """Unload everything and give the backbone back."""
        self._places.close()
        self._last_layer.close()
        self._claim.release()
        self._modules.clear()
        self._heads.clear()
        self._banks.clear()
        self._bank_of.clear()
        self._own_features = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def predict(self, requests: Sequence[tuple[str, str | Fields]]) -> list[Prediction]:
        """Answer requests, each a module's alias and a text (or its fields), in their order.

        Raises:
            InputError: An alias is not loaded, or a text lacks a field.
        """
        texts = [(alias, self._fields(alias, text)) for alias, text in requests]
        answers: dict[int, Prediction] = {}
        for alias, (numbers, scores) in self._score(texts).items():
            module = self._resident(alias).module
            said = predictions(alias, module.task, module.calibration, scores)
            answers |= dict(zip(numbers, said, strict=True))
        return [answers[number] for number in range(len(requests))]

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
        scores = self._score_all(alias, [self._fields(alias, example.fields) for example in examples])
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

    def _load_head(self, module: TrainedModule) -> LoadedHead:
        with torch.random.fork_rng([]):  # new layers draw numbers before they get their weights
            head = restore_head(
                self._backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors
            )
        shared = None
        if module.head.init == "mlm" and head.shape.reads_masks and not {"dense", "norm"} & set(module.head.parts):
            shared = self._own_features = self._own_features or features_of(head)
        return load_head(head, [pattern.masks for pattern in module.task.patterns], shared)

    def _place(self, number: int, module: TrainedModule) -> int | None:
        """Put an adapter into the bank of its form, which is number what; None without an adapter."""
        spec = module.adapter
        if spec.kind == "none":
            return None
        form = form_of(spec)
        if form not in self._bank_of:
            check_places(spec, self._backbone.model)
            bank = Bank(spec, self._backbone.model)
            bank.add(number, spec, module.adapter_tensors, self._backbone.device)
            self._places.adapt(tuple(bank.places))
            self._bank_of[form] = len(self._banks)
            self._banks.append(bank)
        else:
            self._banks[self._bank_of[form]].add(number, spec, module.adapter_tensors, self._backbone.device)
        return self._bank_of[form]

    def _check(self, alias: str, module: TrainedModule) -> None:
        try:
            probes = [self._fields(alias, probe.fields) for probe in module.golden.probes]
            check_golden(module.golden, self._score_all(alias, probes))
        except Exception:
            self.unload(alias)
            raise

    def _score_all(self, alias: str, texts: Sequence[Fields]) -> Scores:
        """What one module says of texts."""
        resident = self._resident(alias)
        if not texts:
            return Scores(torch.zeros(0, len(resident.module.task.labels)), ())
        return self._score([(alias, text) for text in texts])[alias][1]

    @torch.inference_mode()
    def _score(self, requests: Sequence[tuple[str, Fields]]) -> dict[str, tuple[list[int], Scores]]:
        """By alias, the numbers of its requests and what the module says of their texts."""
        self._claim.renew()
        numbers_of: dict[str, list[int]] = {}
        for number, (alias, _) in enumerate(requests):
            numbers_of.setdefault(alias, []).append(number)
        work = Work()
        for alias, numbers in numbers_of.items():
            resident = self._resident(alias)
            texts = [requests[number][1] for number in numbers]
            work.add(resident.number, resident.bank, resident.encoders, texts)
        logits = self._run(work)
        scores = work.scores(
            logits, {self._resident(alias).number: self._resident(alias).module for alias in numbers_of}
        )
        return {alias: (numbers, scores[self._resident(alias).number]) for alias, numbers in numbers_of.items()}

    def _run(self, work: Work) -> torch.Tensor:
        """Label logits of all encodings, float32 [N, L] on the CPU; minus infinity beyond a module's labels."""
        heads = {item.module: self._heads[item.module] for item in work.items}
        labels = max((head.labels for head in heads.values()), default=0)
        logits = torch.zeros(len(work.items), labels)
        apart = not is_packable(self._backbone)
        for pack in plan(work.items, TOKENS_PER_PASS, apart=apart):
            pooled = frozenset(layer for group in pack.groups for layer in heads[group.module].pool_layers)
            active = self._active(pack.spans, whole=apart)
            hidden = run_pack(self._backbone, work.encoded, pack, active, pooled, self._read(work, pack, heads))
            logits[list(pack.order)] = label_logits(heads, pack, work.encoded, hidden, labels).float().cpu()
        return logits

    def _active(self, spans: Iterable[Span], *, whole: bool = False) -> tuple[Active, ...]:
        return tuple(self._banks[span.bank].activate(span, self._backbone.device, whole=whole) for span in spans)

    def _read(self, work: Work, pack: Pack, heads: Mapping[int, LoadedHead]) -> Read | None:
        """What the last layer is to be narrowed to; None if it cannot be, or if little would be left out."""
        if not self._last_layer.narrows:
            return None
        positions = [
            heads[group.module].reads(work.encoded[pack.order[place]], self._backbone.layers)
            for group in pack.groups
            for place in range(group.first, group.last)
        ]
        tokens, counts = read_tokens(pack.starts, positions)
        if len(tokens) > _MOST_READ * pack.tokens:
            return None
        spans = spans_of(work.items, pack.order, counts)
        return Read(tuple(tokens), tuple(counts), self._active(spans))

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
