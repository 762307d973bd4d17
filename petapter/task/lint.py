"""Finds before training what would be a silent wrong answer: words that collide, do not fit or are unknown."""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from petapter.task.encoding import Encoder, Windows
from petapter.task.examples import Example
from petapter.task.findings import Finding
from petapter.task.row_lint import lint_encodings, lint_labels, lint_rows
from petapter.task.verbalizer import Verbalizer, cut_words, read_verbalizer, word_ids
from petapter_schemas.tables import some
from petapter_schemas.task import PatternSpec, TaskSpec

_SEPARATORS = ("</s>", "[SEP]", "<sep>", "<|endoftext|>", "<|sep|>")
_MASKS = ("[MASK]", "<mask>", "<|mask|>")


def lint_task(
    task: TaskSpec,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    examples: Sequence[Example] = (),
    *,
    encoded: Sequence[Windows] = (),
) -> list[Finding]:
    """Check a task against the tokenizer of its backbone and, where given, its examples; errors come first.

    Args:
        task: What to check.
        tokenizer: The backbone's own.
        max_tokens: Longest sequence the backbone reads.
        examples: The rows to train on; without any, only the task itself is checked.
        encoded: What `encode_rows` made of these rows, where the caller has it already.
    """
    verbalizer = read_verbalizer(task, tokenizer)
    findings = [
        *_words(task, verbalizer, tokenizer),
        *_collisions(task, verbalizer),
        *_contexts(task, verbalizer, tokenizer),
        *_cut_words(task, tokenizer),
        *_separators(task, tokenizer),
    ]
    if examples:
        findings += [*lint_labels(task, examples), *lint_rows(task, examples)]
    if examples and not any(finding.severity == "error" for finding in findings):
        findings += lint_encodings(
            task, tokenizer, max_tokens, examples, encoded or encode_rows(task, tokenizer, max_tokens, examples)
        )
    return sorted(findings, key=lambda finding: finding.severity)


def encode_rows(
    task: TaskSpec, tokenizer: PreTrainedTokenizerBase, max_tokens: int, examples: Sequence[Example]
) -> list[Windows]:
    """Every row in every pattern of a task, by pattern: what lint checks and training reads."""
    texts = [example.fields for example in examples]
    return [
        Encoder(tokenizer, pattern, max_tokens, task.tokenization).encode_windows(texts) for pattern in task.patterns
    ]


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
    if task.tokenization.words == "bare":
        return
    for pattern in task.patterns[1:]:
        for label, label_ids in zip(task.labels, verbalizer.ids, strict=True):
            for word, ids in zip(label.words, label_ids, strict=True):
                if word_ids(word, pattern, tokenizer) != ids:
                    yield Finding(
                        "warning",
                        f"word {word!r} reads as other tokens in pattern {pattern.template!r} than in the first "
                        "pattern, whose tokens are used",
                    )


def _cut_words(task: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    if cut := cut_words(task, tokenizer):
        masks = min(pattern.masks for pattern in task.patterns)
        yield Finding(
            "warning",
            f"{some(list(map(repr, cut)))}: more tokens than masks, so all but the first {masks} are cut off, as the "
            "task allows",
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
