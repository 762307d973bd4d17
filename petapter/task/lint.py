"""Finds before training what would be a silent wrong answer: words that collide, do not fit or are unknown."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from petapter.task.encoding import Encoder
from petapter.task.examples import Example
from petapter.task.verbalizer import Verbalizer, read_verbalizer, word_ids
from petapter_schemas.task import PatternSpec, TaskSpec

_SEPARATORS = ("</s>", "[SEP]", "<sep>", "<|endoftext|>", "<|sep|>")
_MASKS = ("[MASK]", "<mask>", "<|mask|>")


@dataclass(frozen=True)
class Finding:
    """Something the user should know; an error stops the training, a warning is shown."""

    severity: Literal["error", "warning"]
    message: str


def lint_task(
    task: TaskSpec, tokenizer: PreTrainedTokenizerBase, max_tokens: int, examples: Sequence[Example] = ()
) -> list[Finding]:
    """Check a task against the tokenizer of its backbone and, where given, its examples; errors come first.

    Args:
        task: What to check.
        tokenizer: The backbone's own.
        max_tokens: Longest sequence the backbone reads.
        examples: The rows to train on; without any, only the task itself is checked.
    """
    verbalizer = read_verbalizer(task, tokenizer)
    findings = [
        *_words(task, verbalizer, tokenizer),
        *_collisions(task, verbalizer),
        *_contexts(task, verbalizer, tokenizer),
        *_separators(task, tokenizer),
    ]
    if examples:
        findings += [*_classes(task, examples), *_rows(task, examples)]
    if examples and not any(finding.severity == "error" for finding in findings):
        findings += _texts(task, tokenizer, max_tokens, examples)
    return sorted(findings, key=lambda finding: finding.severity)


def _words(task: TaskSpec, verbalizer: Verbalizer, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    masks = min(pattern.masks for pattern in task.patterns)
    for label, label_ids in zip(task.labels, verbalizer.ids, strict=True):
        for word, ids in zip(label.words, label_ids, strict=True):
            if not ids or tokenizer.unk_token_id in ids:
                yield Finding(
                    "error", f"word {word!r} of label {label.name!r} is unknown to the tokenizer: choose another"
                )
            elif not set(ids).isdisjoint(tokenizer.all_special_ids):
                yield Finding(
                    "error",
                    f"word {word!r} of label {label.name!r} holds a special token of the tokenizer: choose another",
                )
            elif len(ids) > masks:
                plural = "mask" if masks == 1 else "masks"
                yield Finding(
                    "error",
                    f"word {word!r} of label {label.name!r} is {len(ids)} tokens but the pattern has {masks} {plural}: "
                    "add a mask or choose another word",
                )


def _collisions(task: TaskSpec, verbalizer: Verbalizer) -> Iterator[Finding]:
    owner: dict[tuple[int, ...], tuple[str, str]] = {}
    for label, label_ids in zip(task.labels, verbalizer.ids, strict=True):
        for word, ids in zip(label.words, label_ids, strict=True):
            if ids in owner and ids:
                other_label, other_word = owner[ids]
                yield Finding(
                    "error",
                    f"words {other_word!r} of label {other_label!r} and {word!r} of label {label.name!r} are the same "
                    "tokens, so they cannot be told apart: choose another word",
                )
            owner.setdefault(ids, (label.name, word))


def _contexts(task: TaskSpec, verbalizer: Verbalizer, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    for pattern in task.patterns[1:]:
        for label, label_ids in zip(task.labels, verbalizer.ids, strict=True):
            for word, ids in zip(label.words, label_ids, strict=True):
                if word_ids(word, pattern, tokenizer) != ids:
                    yield Finding(
                        "warning",
                        f"word {word!r} reads as other tokens in pattern {pattern.template!r} than in the first "
                        "pattern, whose tokens are used",
                    )


def _separators(task: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    own = set(tokenizer.all_special_tokens)
    for pattern in task.patterns:
        for token in _SEPARATORS:
            if token in pattern.template and token not in own:
                yield Finding(
                    "error",
                    f"pattern {pattern.template!r} uses {token!r}, which this tokenizer reads as ordinary characters: "
                    f"its separator is {tokenizer.sep_token!r}",
                )
        yield from _literal_masks(pattern, tokenizer)


def _literal_masks(pattern: PatternSpec, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    for token in sorted({*_MASKS, str(tokenizer.mask_token)}):
        if token in pattern.template:
            yield Finding("error", f"pattern {pattern.template!r} spells out {token!r}: write {{mask}} instead")


def _classes(task: TaskSpec, examples: Sequence[Example]) -> Iterator[Finding]:
    counts = Counter(example.label for example in examples)
    if unknown := sorted(counts.keys() - set(task.label_names)):
        yield Finding("error", f"rows have the label {unknown[0]!r}, which the task lacks: correct or add it")
    if len(counts) == 1:
        yield Finding(
            "error", f"all {len(examples)} rows have the label {examples[0].label!r}: add rows of other labels"
        )
    if len(examples) < len(task.labels):
        yield Finding(
            "error", f"{len(examples)} rows are fewer than the {len(task.labels)} labels: give at least one row a label"
        )
    missing = [name for name in task.label_names if name not in counts]
    if missing:
        yield Finding("warning", f"no row for label {', '.join(map(repr, missing))}: only its words speak for it")


def _rows(task: TaskSpec, examples: Sequence[Example]) -> Iterator[Finding]:
    labels: dict[tuple[str, ...], set[str]] = {}
    for example in examples:
        labels.setdefault(tuple(example.fields[name] for name in task.fields), set()).add(example.label)
    contradictory = sum(len(names) > 1 for names in labels.values())
    if contradictory:
        yield Finding("warning", f"{contradictory} texts occur with several labels: check the rows")
    if len(labels) < len(examples):
        yield Finding("warning", f"{len(examples) - len(labels)} of {len(examples)} rows repeat a text: drop them")


def _texts(
    task: TaskSpec, tokenizer: PreTrainedTokenizerBase, max_tokens: int, examples: Sequence[Example]
) -> Iterator[Finding]:
    texts = [example.fields for example in examples]
    for pattern in task.patterns:
        encoded = Encoder(tokenizer, pattern, max_tokens).encode(texts)
        end = "end" if pattern.keep == "head" else "start"
        if cut := [item.lost_tokens for item in encoded if item.lost_tokens]:
            yield Finding(
                "warning",
                f"{len(cut)} of {len(texts)} texts are longer than {max_tokens} tokens in pattern "
                f"{pattern.template!r} and lose {sum(cut)} tokens at the {end}",
            )
    special = [token for token in tokenizer.all_special_tokens if any(token in " ".join(t.values()) for t in texts)]
    if special:
        yield Finding("warning", f"texts spell out {', '.join(map(repr, special))}: read as ordinary characters")
