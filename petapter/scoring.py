"""Runs texts through the backbone, whatever adapter is active in it, and one head: label log-probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.head import PetHead
from petapter.task.encoding import EncodedText, Encoder, Fields, pad_batch
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec

TOKENS_PER_BATCH = 4096
"""Padded tokens per forward pass: enough to fill two cores, small enough for a laptop's memory."""


@dataclass(frozen=True)
class Scores:
    """What a module says of some texts.

    Attributes:
        log_probabilities: float32 [N, L] on the CPU, each row a distribution over the labels.
        lost_tokens: Per text, the most tokens any pattern had to leave out.
    """

    log_probabilities: Tensor
    lost_tokens: tuple[int, ...]


@torch.inference_mode()
def score(
    backbone: Backbone, head: PetHead, task: TaskSpec, texts: Sequence[Fields], calibration: CalibrationSpec | None
) -> Scores:
    """Score texts under every pattern of a task; the patterns' log-probabilities are averaged and normalised again."""
    total = torch.zeros(len(texts), len(task.labels))
    lost = [0] * len(texts)
    for pattern in task.patterns:
        encoded = Encoder(backbone.tokenizer, pattern, backbone.max_tokens).encode(texts)
        for rows in _buckets(encoded):
            batch = pad_batch([encoded[row] for row in rows], backbone.pad_id)
            logits = head(backbone.hidden_at_masks(batch))  # [B, L]
            total[rows] += torch.log_softmax(logits.float(), dim=-1).cpu()
        lost = [max(before, item.lost_tokens) for before, item in zip(lost, encoded, strict=True)]
    return Scores(_calibrated(total / len(task.patterns), calibration), tuple(lost))


def _calibrated(logits: Tensor, calibration: CalibrationSpec | None) -> Tensor:
    if calibration is not None:
        logits = logits / calibration.temperature
        if calibration.class_bias is not None:
            logits = logits + torch.tensor(calibration.class_bias)
    return torch.log_softmax(logits, dim=-1)


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
