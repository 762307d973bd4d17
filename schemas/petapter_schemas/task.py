"""The task a module solves: its labels, the words that stand for them, and the patterns that ask for them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from petapter_schemas.frozen import Frozen
from petapter_schemas.names import ONE_LINE, PLAIN_TEXT, LabelName, label_key

MASK_FIELD = "mask"
PRIOR_TOLERANCE = 0.001
"""Shares are often written with two or three decimals; whoever uses them divides by their sum."""

FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True), ONE_LINE]
Template = Annotated[str, StringConstraints(min_length=1, max_length=2000), PLAIN_TEXT]
Share = Annotated[float, Field(gt=0, lt=1)]
LabelDescription = Annotated[str, StringConstraints(max_length=2000), PLAIN_TEXT]

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Literally:
    """Words of the pattern itself."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A place that a text field fills, or the mask when `field` is "mask"."""

    field: str

    @property
    def is_mask(self) -> bool:
        """Whether the model predicts here."""
        return self.field == MASK_FIELD


def split_template(template: str) -> tuple[Literally | Slot, ...]:
    """Cut a template into literal words and slots; `{{` and `}}` stand for braces.

    Raises:
        ValueError: A brace has no partner, or a slot has no proper name.
    """
    pieces: list[Literally | Slot] = []
    literal, end = "", 0
    for match in _PIECE.finditer(template):
        literal += template[end : match.start()]
        end = match.end()
        if match.group() in {"{{", "}}"}:
            literal += match.group()[0]
            continue
        name = match.group(1)
        if name is None or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
            raise ValueError(f"pattern {template!r}: {match.group()!r} is no slot; write {{text}} or {{mask}}")
        if literal:
            pieces.append(Literally(literal))
        pieces.append(Slot(name))
        literal = ""
    literal += template[end:]
    return (*pieces, Literally(literal)) if literal else tuple(pieces)


class WindowSpec(Frozen):
    """How a long text is read in windows: each fills the room that the pattern leaves, and moves on by `stride` of it.

    Attributes:
        stride: Share of a window's tokens by which the next one begins later; below 1 the windows overlap.
        at_most: Windows of one text; a longer text is read in that many, spread evenly from its start to its end.
        pool: How the scores of a text's windows become one: their mean, or by label the highest.
    """

    stride: Annotated[float, Field(gt=0, le=1)] = 0.5
    at_most: Annotated[int, Field(ge=1, le=256)] = 16
    pool: Literal["mean", "max"] = "mean"


class PatternSpec(Frozen):
    """One way of asking: a template with at least one `{mask}` and one text field.

    `keep` says what is read of a text that does not fit the backbone: its start, its end, a quarter from the start and
    three from the end, or all of it in windows.
    """

    template: Template
    keep: Literal["head", "tail", "head+tail", "windows"] = "head"
    windows: WindowSpec | None = None

    @field_validator("template")
    @classmethod
    def _has_mask_and_text(cls, template: str) -> str:
        slots = [piece for piece in split_template(template) if isinstance(piece, Slot)]
        if not any(slot.is_mask for slot in slots):
            raise ValueError(f"pattern {template!r} has no {{mask}}: add one where the label word belongs")
        if all(slot.is_mask for slot in slots):
            raise ValueError(f"pattern {template!r} has no text field: add {{text}}")
        return template

    @model_validator(mode="after")
    def _windows_are_kept(self) -> Self:
        if self.windows is not None and self.keep != "windows":
            raise ValueError(f"windows says nothing while keep is {self.keep!r}: write keep: windows")
        return self

    @property
    def windowing(self) -> WindowSpec | None:
        """How long texts are read in windows; None where they are cut instead."""
        return (self.windows or WindowSpec()) if self.keep == "windows" else None

    @property
    def masks(self) -> int:
        """Number of mask positions, M."""
        return sum(isinstance(piece, Slot) and piece.is_mask for piece in split_template(self.template))

    @property
    def fields(self) -> tuple[str, ...]:
        """Text fields in order of first use."""
        slots = (p.field for p in split_template(self.template) if isinstance(p, Slot) and not p.is_mask)
        return tuple(dict.fromkeys(slots))


class LabelSpec(Frozen):
    """A class: its name in the data, and the words that stand for it at the mask."""

    name: LabelName
    words: tuple[Word, ...] = Field(min_length=1, max_length=64)
    description: LabelDescription = ""

    @field_validator("words", mode="before")
    @classmethod
    def _one_word(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else _as_tuple(value)

    @field_validator("words")
    @classmethod
    def _distinct(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(words)) < len(words):
            raise ValueError(f"a label lists the word {_first_repeated(words)!r} twice: name each word once")
        return words


class TokenizationSpec(Frozen):
    """How words and texts become tokens; the defaults are petapter's own, the others are the PETapter paper's.

    Attributes:
        words: A word is read where it will stand in the first pattern, with the space before it, or bare: by itself,
            without a space.
        long_words: A word of more tokens than the fewest masks of any pattern is refused, or cut to that many.
        texts: A text is read together with the pattern, or apart: by itself, without a space before it, and its tokens
            are put between those of the pattern.
    """

    words: Literal["in-pattern", "bare"] = "in-pattern"
    long_words: Literal["refuse", "cut"] = "refuse"
    texts: Literal["in-pattern", "apart"] = "in-pattern"


OWN_TOKENIZATION = TokenizationSpec()
"""What a task has that says nothing, so also every module made before the field."""


class TaskSpec(Frozen):
    """Labels in their order, text fields and patterns; all that defines a task before any training.

    From YAML or JSON, `labels` may also be a mapping (label -> word, words, or {words, description}) and `patterns`
    a list of templates; `class_prior` may be a mapping (label -> share).

    Attributes:
        class_prior: Share of each label in the field, in label order, where it is known; the training rows may be
            balanced otherwise. For multi-label tasks the share of texts that have the label.
    """

    type: Literal["single-label", "multi-label"] = "single-label"
    fields: tuple[FieldName, ...] = Field(default=("text",), min_length=1, max_length=16)
    labels: tuple[LabelSpec, ...] = Field(min_length=2, max_length=4096)
    patterns: tuple[PatternSpec, ...] = Field(min_length=1, max_length=64)
    class_prior: tuple[Share, ...] | None = None
    tokenization: TokenizationSpec = OWN_TOKENIZATION

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_from_mapping(cls, value: object) -> object:
        if not isinstance(value, dict):
            return _as_tuple(value)
        return tuple(_label_from_entry(name, entry) for name, entry in value.items())

    @field_validator("patterns", mode="before")
    @classmethod
    def _patterns_from_text(cls, value: object) -> object:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            return items
        return tuple({"template": item} if isinstance(item, str) else item for item in items)

    @field_validator("class_prior", mode="before")
    @classmethod
    def _prior_from_mapping(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, dict) or "labels" not in info.data:
            return _as_tuple(value)
        names = [label.name for label in info.data["labels"]]
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"it names {unknown[0]!r}, which is no label of the task")
        if missing := [name for name in names if name not in value]:
            raise ValueError(f"it has no share for label {missing[0]!r}: give every label one")
        return tuple(value[name] for name in names)

    @model_validator(mode="after")
    def _prior_fits(self) -> Self:
        if self.class_prior is None:
            return self
        if len(self.class_prior) != len(self.labels):
            raise ValueError("class_prior must have one share per label")
        if self.type == "single-label" and abs(sum(self.class_prior) - 1) > PRIOR_TOLERANCE:
            raise ValueError(f"the shares of class_prior add up to {sum(self.class_prior):.4g}: they must add up to 1")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if MASK_FIELD in self.fields or "label" in self.fields:
            raise ValueError("a text field must not be called 'mask' or 'label': rename the column")
        _refuse_repeated(self.fields, "text field")
        _refuse_repeated((label.name for label in self.labels), "label")
        _refuse_repeated((label_key(label.name) for label in self.labels), "label (but for case and separators)")
        for pattern in self.patterns:
            if unknown := [name for name in pattern.fields if name not in self.fields]:
                known = ", ".join(self.fields)
                raise ValueError(f"pattern {pattern.template!r} uses {{{unknown[0]}}}; the text fields are: {known}")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels in their order; position is the class index everywhere."""
        return tuple(label.name for label in self.labels)


def _as_tuple(value: object) -> object:
    """Lists become tuples here, because strict validation accepts no list where a validator ran first."""
    return tuple(value) if isinstance(value, list) else value


def _label_from_entry(name: object, entry: object) -> dict[object, object]:
    if not isinstance(entry, dict):
        return {"name": name, "words": entry}
    if "name" in entry:
        raise ValueError(f"label {name!r} is named twice: drop 'name' inside it")
    return {"name": name, **entry}


def _refuse_repeated(names: Iterable[str], what: str) -> None:
    if (repeated := _first_repeated(names)) is not None:
        raise ValueError(f"{what} {repeated!r} occurs twice: merge or rename one")


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
