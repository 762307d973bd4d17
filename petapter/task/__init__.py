"""From files and words to token ids: examples, task files, verbalizers, encoding and the checks before training."""

from petapter.task.encoding import Batch, EncodedText, Encoder, Windows, pad_batch
from petapter.task.examples import Example, read_examples, read_texts, rows_digest
from petapter.task.findings import Finding
from petapter.task.lint import encode_rows, lint_task
from petapter.task.reading import read_task, task_from_options
from petapter.task.verbalizer import Verbalizer, read_verbalizer
from petapter.task.windows import Seen, pool_windows, seen_share

__all__ = [
    "Batch",
    "EncodedText",
    "Encoder",
    "Example",
    "Finding",
    "Seen",
    "Verbalizer",
    "Windows",
    "encode_rows",
    "lint_task",
    "pad_batch",
    "pool_windows",
    "read_examples",
    "read_task",
    "read_texts",
    "read_verbalizer",
    "rows_digest",
    "seen_share",
    "task_from_options",
]
