"""A pattern and its verbalizer as a filled-in example: what the backbone reads, and the word that it is to say."""

from collections.abc import Sequence
from dataclasses import dataclass

from petapter_schemas.golden import Golden, Probe
from petapter_schemas.manifest import Manifest
from petapter_schemas.task import LabelSpec, Literally, PatternSpec, split_template

_MAX_TEXT = 280


@dataclass(frozen=True)
class Piece:
    """A part of a filled pattern: words of the pattern (`pattern`), of the text (`text`), or at the mask (`mask`)."""

    kind: str
    text: str


@dataclass(frozen=True)
class Example:
    """A pattern with a text in it.

    Attributes:
        template: The pattern as it is written.
        pieces: In reading order.
        label: What the module answers to the text; None where there is no text to fill in.
        keep: What is read of a text that is too long.
    """

    template: str
    pieces: Sequence[Piece]
    label: LabelSpec | None
    keep: str


def examples(manifest: Manifest, probes: Golden | None) -> list[Example]:
    """Every pattern with the first probe text, and the first word of the label that the module gives it."""
    probe = probes.probes[0] if probes else None
    label = _answer(manifest, probe) if probe else None
    return [
        Example(pattern.template, _pieces(pattern, probe, label), label, pattern.keep)
        for pattern in manifest.task.patterns
    ]


def _answer(manifest: Manifest, probe: Probe) -> LabelSpec | None:
    scores = probe.log_probabilities
    if len(scores) != len(manifest.task.labels):
        return None
    return manifest.task.labels[max(range(len(scores)), key=scores.__getitem__)]


def _pieces(pattern: PatternSpec, probe: Probe | None, label: LabelSpec | None) -> list[Piece]:
    pieces = []
    for piece in split_template(pattern.template):
        if isinstance(piece, Literally):
            pieces.append(Piece("pattern", piece.text))
        elif piece.is_mask:
            pieces.append(Piece("mask", label.words[0] if label else "?"))
        else:
            pieces.append(Piece("text", _text(piece.field, probe)))
    return pieces


def _text(field: str, probe: Probe | None) -> str:
    return _cut(probe.fields[field]) if probe and field in probe.fields else f"[{field}]"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
