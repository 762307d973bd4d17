"""From files and words to token ids: examples, task files, verbalizers, encoding and the checks before training."""

from petapter.task.encoding import Batch, EncodedText, Encoder, pad_batch
from petapter.task.examples import Example, read_examples, read_texts, rows_digest
from petapter.task.lint import Finding, lint_task
from petapter.task.reading import read_task, task_from_options
from petapter.task.verbalizer import Verbalizer, read_verbalizer

__all__ = [
    "Batch",
    "EncodedText",
    "Encoder",
    "Example",
    "Finding",
    "Verbalizer",
    "lint_task",
    "pad_batch",
    "read_examples",
    "read_task",
    "read_texts",
    "read_verbalizer",
    "rows_digest",
    "task_from_options",
]
