"""Finds in labelled rows what would quietly make a module worse: labels, weights, repetitions, texts that are lost."""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from petapter.task.encoding import Encoder, Windows
from petapter.task.examples import Example
from petapter.task.findings import Finding
from petapter.task.windows import seen_share
from petapter_schemas.tables import some
from petapter_schemas.task import PatternSpec, Slot, TaskSpec, split_template

_UNEVEN = 5
"""A label with this many times the rows of another is worth a word; balanced draws differ by a row or two."""
_MOST_UNKNOWN = 0.2
"""Share of unknown tokens from which a text is named: a stray symbol in a sentence stays below it."""
_UNREADABLE = 0.5
"""Share of unknown tokens over all rows from which nothing can be learned: most of what tells the labels is gone."""
_MOST_PER_CHARACTER = 1.5
"""Tokens per character from which a tokenizer spells bytes: in a script it covers, even Chinese, there is at most 1."""


def lint_labels(task: TaskSpec, examples: Sequence[Example]) -> Iterator[Finding]:
    """Labels that the task lacks, that no row has, or that nearly all rows have."""
    counts = Counter(name for example in examples for name in example.label_names)
    if unknown := sorted(counts.keys() - set(task.label_names)):
        yield Finding("error", f"rows have the label {unknown[0]!r}, which the task lacks: correct or add it")
    yield from _one_label(task, examples) if task.type == "single-label" else _several_labels(examples)
    missing = [name for name in task.label_names if name not in counts]
    if missing:
        yield Finding("warning", f"no row for label {some(list(map(repr, missing)))}: only its words speak for it")
    most, least = max(counts, key=lambda n: counts[n], default=""), min(counts, key=lambda n: counts[n], default="")
    if task.type == "single-label" and counts[most] >= _UNEVEN * counts[least] > 0:
        yield Finding(
            "warning",
            f"labels are uneven: {counts[most]} rows of {most!r}, {counts[least]} of {least!r}: add rows, weights, or "
            "class_prior with the shares to expect",
        )


def lint_rows(task: TaskSpec, examples: Sequence[Example]) -> Iterator[Finding]:
    """Texts that repeat, contradict each other or say nothing, and weights that do not weigh."""
    rows_of: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        rows_of[tuple(_normalised(example.fields[name]) for name in task.fields)].append(row)
    clashes = [clash for rows in rows_of.values() if (clash := _clash(examples, rows))]
    if clashes:
        yield Finding(
            "warning",
            f"{len(clashes)} texts occur with several labels, first in rows {clashes[0][0]} and {clashes[0][1]}: "
            "check the rows",
        )
    if len(rows_of) < len(examples):
        yield Finding("warning", f"{len(examples) - len(rows_of)} of {len(examples)} rows repeat a text: drop them")
    if empty := sum(not any(map(_says_something, text)) for text in rows_of):
        yield Finding("warning", f"{empty} texts hold no letter, digit or symbol: drop them")
    yield from _weights(examples)


def lint_encodings(
    task: TaskSpec,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    examples: Sequence[Example],
    encoded: Sequence[Windows],
) -> Iterator[Finding]:
    """Texts that lose tokens, that the tokenizer does not know, or that spell out its special tokens.

    Args:
        task: Its patterns in the order of `encoded`.
        tokenizer: The backbone's own.
        max_tokens: Longest sequence the backbone reads.
        examples: The rows.
        encoded: The rows' encodings, by pattern.
    """
    for pattern, windows in zip(task.patterns, encoded, strict=True):
        yield from _lost(pattern, max_tokens, windows)
    yield from _unknown(Encoder(tokenizer, task.patterns[0], max_tokens, task.tokenization), encoded[0])
    yield from _spelled_in_bytes(task.patterns[0], examples, encoded[0])
    texts = [" ".join(example.fields[name] for name in task.fields) for example in examples]
    if special := [token for token in tokenizer.all_special_tokens if any(token in text for text in texts)]:
        yield Finding("warning", f"texts spell out {', '.join(map(repr, special))}: read as ordinary characters")


def _one_label(task: TaskSpec, examples: Sequence[Example]) -> Iterator[Finding]:
    if wrong := next((row for row, example in enumerate(examples, 1) if len(example.label_names) != 1), None):
        yield Finding(
            "error",
            f"row {wrong} has {len(examples[wrong - 1].label_names)} labels: the task is single-label, give one",
        )
    elif len({example.label_names for example in examples}) == 1:
        name = examples[0].label_names[0]
        yield Finding("error", f"all {len(examples)} rows have the label {name!r}: add rows of other labels")
    if len(examples) < len(task.labels):
        yield Finding(
            "error", f"{len(examples)} rows are fewer than the {len(task.labels)} labels: give at least one row a label"
        )


def _several_labels(examples: Sequence[Example]) -> Iterator[Finding]:
    sets = {frozenset(example.label_names) for example in examples}
    if len(sets) == 1:
        yield Finding("error", f"all {len(examples)} rows have the same labels: add rows with other labels")
    elif everywhere := sorted(frozenset.intersection(*sets)):
        yield Finding(
            "warning",
            f"every row has the label {everywhere[0]!r}, so nothing tells where it is wrong: add rows without it",
        )


def _weights(examples: Sequence[Example]) -> Iterator[Finding]:
    weights = [example.weight for example in examples]
    wrong = [row for row, weight in enumerate(weights, 1) if not (math.isfinite(weight) and weight > 0)]
    if wrong:
        yield Finding("error", f"row {wrong[0]} has the weight {weights[wrong[0] - 1]}: weights must be above 0")
    elif weights[0] != 1 and len(set(weights)) == 1:
        yield Finding(
            "warning", f"all rows have the weight {weights[0]:g}, which is as if none had one: drop the weights"
        )


def _lost(pattern: PatternSpec, max_tokens: int, windows: Windows) -> Iterator[Finding]:
    seen = seen_share(windows)
    if not seen.lost_tokens:
        return
    where = {"head": "at the end", "tail": "at the start", "head+tail": "in the middle"}.get(pattern.keep)
    yield Finding(
        "warning",
        f"{seen.cut_texts} of {len(seen.shares)} texts are longer than {max_tokens} tokens in pattern "
        f"{pattern.template!r} and lose {seen.lost_tokens} tokens {where or 'between their windows'}: "
        f"{_percent(seen.share)} of all tokens are read, of one text only {_percent(min(seen.shares))}; preset "
        "strong chooses by validation what is kept where --keep auto asks for it",
    )


def _unknown(encoder: Encoder, windows: Windows) -> Iterator[Finding]:
    unknown = encoder.tokenizer.unk_token_id
    if unknown is None:
        return
    (bare,) = encoder.encode([dict.fromkeys(encoder.pattern.fields, "")])
    if in_pattern := bare.input_ids.count(unknown):
        yield Finding(
            "warning", f"{in_pattern} words of pattern {encoder.pattern.template!r} are unknown to the tokenizer"
        )
    read, lacking = Counter[int](), Counter[int]()
    for text, item in zip(windows.owner, windows.encoded, strict=True):
        read[text] += windows.text_tokens[text] - item.lost_tokens
        lacking[text] += item.input_ids.count(unknown) - in_pattern
    shares = [lacking[text] / read[text] for text in read if read[text]]
    if named := [share for share in shares if share >= _MOST_UNKNOWN]:
        yield Finding(
            "error" if lacking.total() >= _UNREADABLE * read.total() else "warning",
            f"{len(named)} of {len(windows.text_tokens)} texts are unknown to the tokenizer in up to "
            f"{_percent(max(named))} of their tokens: choose a backbone that covers their script",
        )


def _spelled_in_bytes(pattern: PatternSpec, examples: Sequence[Example], windows: Windows) -> Iterator[Finding]:
    slots = [piece.field for piece in split_template(pattern.template) if isinstance(piece, Slot) and not piece.is_mask]
    characters = sum(not c.isspace() for example in examples for name in slots for c in example.fields[name])
    if (tokens := sum(windows.text_tokens)) > _MOST_PER_CHARACTER * characters:
        yield Finding(
            "warning",
            f"the texts are {tokens / max(1, characters):.1f} tokens per character, so the tokenizer spells their "
            "script in bytes: choose a backbone for their language",
        )


def _percent(share: float) -> str:
    """Rounded down, so that a text that loses something is never said to be read whole."""
    return f"{int(share * 100)} %"


def _clash(examples: Sequence[Example], rows: Sequence[int]) -> tuple[int, int] | None:
    """The numbers, from 1, of the first two of these rows whose labels differ."""
    first = examples[rows[0]].label_names
    return next(((rows[0] + 1, row + 1) for row in rows if examples[row].label_names != first), None)


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()


def _says_something(text: str) -> bool:
    return any(c.isalnum() or unicodedata.category(c) == "So" for c in text)
