# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""One run of `suggest-examples`: draw texts of a file, rank patterns by them, name the next ones to label."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from petapter_hub_client.backbones import resolve_backbone
from petapter_hub_client.local_runs import load_backbone
from petapter_hub_client.output import OnStep
from petapter_hub_client.stated_facts import StatedFacts
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.selection import PooledPattern
    from petapter.selection.text_drawing import DrawnTexts
    from petapter.task import Example
    from petapter_schemas.task import TaskSpec

_ROW, _GUESS, _STANDS_FOR, _LABEL = "row", "guess", "stands_for", "label"
_SUFFIXES: dict[str, Literal["csv", "jsonl"]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_DEFAULT_FIELDS = ("text",)
_MOST_PATTERNS = 4
"""All texts are read in each of them, and four of different kinds will do."""
_RANKED_BY, _PRIOR_OF = 200, 1000
"""Texts by which patterns are ranked, and of which the prior of a zero-label module is read."""
_VERSION = "0.1.0"


@dataclass(frozen=True)
class LabelNames:
    """What is known of the labels before any row: a task file, words of the command line, or nothing.

    Attributes:
        file: A task file.
        names: Names of labels that are their own words.
        labels: `NAME=word,word`.
        patterns: Templates; without any the grammar's are tried.
        languages: In which the grammar speaks; its patterns are then tried beside given ones too.
    """

    file: Path | None
    names: Sequence[str]
    labels: Sequence[str]
    patterns: Sequence[str]
    languages: Sequence[str]

    def read(self) -> "TaskSpec | None":
        """The task, or None where nothing is known of the labels.

        Raises:
            InputError: Both places were given, patterns without labels, or they make no task.
        """
        from petapter.selection.pattern_pool import phrase_patterns
        from petapter.task import read_task, task_from_options

        labels = [*self.names, *self.labels]
        if self.file is not None:
            if labels or self.patterns or self.languages:
                raise InputError("give either --task, or --labels, --label, --pattern and --language, not both")
            return read_task(self.file)
        if not labels:
            if self.patterns or self.languages:
                raise InputError("--pattern and --language ask for label words: give --labels too, or leave them out")
            return None
        return task_from_options(
            self.patterns or [next(phrase_patterns(_DEFAULT_FIELDS, 1, self.languages)).template], labels
        )

    def pool(self, task: "TaskSpec", backbone: "Backbone") -> "tuple[PooledPattern, ...]":
        """The patterns to ask in: those given, those of the grammar where a language or no pattern is given.

        Raises:
            TaskError: Words or patterns cannot work on this backbone.
        """
        from petapter.selection import pattern_pool
        from petapter.selection.pattern_pool import OWN

        found = pattern_pool(task, self.languages, backbone).patterns
        with_grammar = self.file is None and (not self.patterns or bool(self.languages))
        return tuple(each for each in found if with_grammar or each.origin == OWN)


@dataclass(frozen=True)
class NextText:
    """A text to label next.

    Attributes:
        row: Its number in the file, from 1, without header and blank lines.
        fields: The whole text by field.
        guess: The label that its words or the labelled rows suggest; None where no labels are known.
        stands_for: How many of the texts that were compared are like it, itself among them.
    """

    row: int
    fields: Mapping[str, str]
    guess: str | None
    stands_for: int


@dataclass(frozen=True)
class RankedPattern:
    """A pattern by the texts alone.

    Attributes:
        template: As it is written.
        information: Mutual information of label and text, nats.
        agreement: The share of texts on which another pattern names the same label, averaged over the others.
        is_asked: Whether it is one of those in which guesses and a zero-label module are made.
    """

    template: str
    information: float
    agreement: float
    is_asked: bool


@dataclass(frozen=True)
class NextTexts:
    """What a run has come to.

    Attributes:
        texts: To label, the most telling first.
        patterns: The best first; none where no labels are known or there is but one.
        readable: Texts in the file.
        broken: Rows of it without a text that can be read.
        compared: Texts that were drawn of it and compared.
        repeated: How many of these repeat another or a labelled one nearly, and were left out.
    """

    texts: tuple[NextText, ...]
    patterns: tuple[RankedPattern, ...]
    readable: int
    broken: int
    compared: int
    repeated: int


@dataclass(frozen=True)
class LabellingRun:
    """Everything a run needs, named but not yet read.

    Attributes:
        texts: The file with unlabelled texts.
        labels: What is known of the labels.
        labelled: Rows that have been labelled already.
        count: How many texts to name.
        draw: Most texts that are compared.
        seed: Of what is drawn and of the first centres of clusters.
        backbone: As `--backbone` takes it.
        device: Where it runs.
        zero_label: Where a module from label words alone is to be made, if at all.
    """

    texts: Path
    labels: LabelNames
    labelled: Path | None
    count: int
    draw: int
    seed: int
    backbone: str
    device: str | None
    zero_label: Path | None = None

    def run(self, on_step: OnStep) -> NextTexts:
        """Draw, rank, compare and choose.

        Raises:
            PetapterError: Something given cannot be used; no module was made.
        """
        from petapter.selection import suggest_examples
        from petapter.selection.text_drawing import draw_texts, texts_at

        task = self.labels.read()
        fields = _DEFAULT_FIELDS if task is None else task.fields
        self._check(task)
        labelled = self._labelled(task)
        on_step(0, 1, "(reading the texts)")
        drawn = draw_texts(self.texts, fields, self.draw, self.seed)
        on_step(0, 1, "(loading the backbone)")
        backbone = load_backbone(resolve_backbone(self.backbone), device=self.device)
        ranked: tuple[RankedPattern, ...] = ()
        if task is not None:
            task, ranked = self._ranked(task, drawn, backbone, on_step)
        found = suggest_examples(
            [text.fields for text in drawn.texts],
            backbone,
            task=task,
            labelled=labelled,
            count=self.count,
            seed=self.seed,
            on_read=lambda done, total: on_step(done, total, "(comparing the texts)"),
        )
        if task is not None and self.zero_label is not None:
            on_step(1, 1, "(making a module without labels)")
            self._make_module(self.zero_label, task, drawn, backbone)
        rows = [drawn.texts[each.index].row for each in found.texts]
        whole = texts_at(self.texts, fields, rows)
        return NextTexts(
            texts=tuple(
                NextText(row, whole[row], each.guess, each.stands_for)
                for row, each in zip(rows, found.texts, strict=True)
            ),
            patterns=ranked,
            readable=drawn.readable,
            broken=drawn.broken,
            compared=len(drawn.texts),
            repeated=found.repeated,
        )

    def _check(self, task: "TaskSpec | None") -> None:
        if self.count > self.draw:
            raise InputError(f"--count {self.count} is more than --draw {self.draw}: compare at least as many texts")
        if task is None and self.zero_label is not None:
            raise InputError("--zero-label makes a module of label words: give --labels, --label or --task too")
        if self.zero_label is not None:
            self._facts(self.zero_label)

    def _facts(self, out: Path) -> StatedFacts:
        name, languages = out.resolve().name, tuple(self.labels.languages)
        return StatedFacts.check(name=name, version=_VERSION, description="", license=None, languages=languages)

    def _ranked(
        self, task: "TaskSpec", drawn: "DrawnTexts", backbone: "Backbone", on_step: OnStep
    ) -> "tuple[TaskSpec, tuple[RankedPattern, ...]]":
        """The task in the best patterns, and all by texts alone where there are several and label words say something.

        One module reads the words alike in all its patterns; others are ranked and not asked.
        """
        from petapter.selection import rank_by_texts
        from petapter.selection.text_drawing import evenly_spread

        pool = self.labels.pool(task, backbone)
        if len(pool) == 1 or not backbone.has_mlm_head or task.type != "single-label":
            return task, ()
        found = rank_by_texts(
            pool,
            task,
            evenly_spread([text.fields for text in drawn.texts], _RANKED_BY),
            backbone,
            on_pattern=lambda done, total: on_step(done, total, "(ranking the patterns)"),
        )
        best = [number for number in found.order if pool[number].reads_words_alike][:_MOST_PATTERNS]
        told = tuple(
            RankedPattern(
                pool[number].pattern.template,
                float(found.information[number]),
                float(found.agreement[number]),
                number in best,
            )
            for number in found.order
        )
        return task.model_copy(update={"patterns": tuple(pool[number].pattern for number in best)}), told

    def _make_module(self, out: Path, task: "TaskSpec", drawn: "DrawnTexts", backbone: "Backbone") -> None:
        from petapter.module import ModuleInfo, save_module
        from petapter.selection import zero_label_module
        from petapter.selection.text_drawing import evenly_spread

        module = zero_label_module(task, evenly_spread([text.fields for text in drawn.texts], _PRIOR_OF), backbone)
        save_module(module, out, ModuleInfo(**self._facts(out).model_dump()))

    def _labelled(self, task: "TaskSpec | None") -> "list[Example]":
        from petapter.task import Example, read_examples, read_texts

        if self.labelled is None:
            return []
        if task is None:
            return [Example(text) for text in read_texts(self.labelled, _DEFAULT_FIELDS)]
        return read_examples(self.labelled, task)


def check_output(path: Path) -> None:
    """Refuse a file that is there, or whose suffix says nothing.

    Raises:
        InputError: It is one of these.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"--output {path}: its name must end in {', '.join(_SUFFIXES)}")
    if path.exists():
        raise InputError(f"{path} exists already: give another name, or label what is in it first")


def write_texts(path: Path, texts: Sequence[NextText]) -> None:
    """Write texts to a new file: their fields, an empty label to fill in, and behind it row, guess and stands_for.

    What is filled in can be given to `train` as it is; a row whose label stays empty is refused there.

    Raises:
        OSError: The disk refused; there is no file then.
    """
    rows = [
        {**text.fields, _LABEL: "", _ROW: text.row, _GUESS: text.guess or "", _STANDS_FOR: text.stands_for}
        for text in texts
    ]
    if _SUFFIXES[path.suffix.lower()] == "jsonl":
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        data = stream.getvalue()
    write_file_durably(path, data.encode())
