"""Runs texts through the backbone, whatever adapter is active in it, and one head: label log-probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from petapter.backbone import Backbone
from petapter.head import PetHead
from petapter.task.encoding import EncodedText, Encoder, Fields, pad_batch
from petapter.task.windows import pool_windows
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec

TOKENS_PER_BATCH = 4096
"""Padded tokens per forward pass: enough to fill two cores, small enough for a laptop's memory."""


@dataclass(frozen=True)
class Scores:
    """What a module says of some texts.

    Attributes:
        log_probabilities: float32 [N, L] on the CPU; each row a distribution over the labels, or in a multi-label task
            each number that of a label of its own.
        lost_tokens: Per text, the most tokens any pattern had to leave out.
    """

    log_probabilities: Tensor
    lost_tokens: tuple[int, ...]


@torch.inference_mode()
def score(
    backbone: Backbone, head: PetHead, task: TaskSpec, texts: Sequence[Fields], calibration: CalibrationSpec | None
) -> Scores:
    """Score texts under every pattern of a task; the patterns' log-probabilities are averaged and normalised again.

    In a multi-label task the logits are averaged. The scores of a text's windows are pooled before.
    """
    total = torch.zeros(len(texts), len(task.labels))
    lost = [0] * len(texts)
    for index, pattern in enumerate(task.patterns):
        windows = Encoder(backbone.tokenizer, pattern, backbone.max_tokens, task.tokenization).encode_windows(texts)
        logits = torch.zeros(len(windows.encoded), len(task.labels))  # [W, L]
        for rows in _buckets(windows.encoded):
            batch = pad_batch([windows.encoded[row] for row in rows], backbone.pad_id)
            logits[rows] = head(backbone.read(batch, head.shape.pool_layers), index).float().cpu()
        scores = torch.log_softmax(logits, dim=-1) if task.type == "single-label" else logits
        if pattern.windowing is not None:
            scores = pool_windows(scores, windows.owner, pattern.windowing.pool)
        total += scores  # [N, L]
        lost = [max(before, now) for before, now in zip(lost, windows.lost_tokens, strict=True)]
    logits = calibrated(total / len(task.patterns), calibration)
    single = task.type == "single-label"
    return Scores(torch.log_softmax(logits, dim=-1) if single else logsigmoid(logits), tuple(lost))


def calibrated(logits: Tensor, calibration: CalibrationSpec | None) -> Tensor:
    """Logits [N, L] as a calibration changes them."""
    if calibration is not None:
        logits = logits / calibration.temperature
        if calibration.class_bias is not None:
            logits = logits + torch.tensor(calibration.class_bias)
    return logits


def _buckets(encoded: Sequence[EncodedText]) -> Iterator[list[int]]:
    """Rows by length, in batches of at most TOKENS_PER_BATCH padded tokens."""
    rows: list[int] = []
    for row in sorted(range(len(encoded)), key=lambda i: len(encoded[i].input_ids)):
        if rows and (len(rows) + 1) * len(encoded[row].input_ids) > TOKENS_PER_BATCH:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
