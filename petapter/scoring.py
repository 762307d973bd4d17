"""Runs texts through the backbone, whatever adapter is active in it, and one head: label log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from petapter.backbone import Backbone
from petapter.head import PetHead
from petapter.task.encoding import Encoder, Fields, length_batches, pad_batch
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


def one_after_another(parts: Sequence[Scores]) -> Scores:
    """What was said of some texts, then of the next ones."""
    if len(parts) == 1:
        return parts[0]
    lost = tuple(tokens for part in parts for tokens in part.lost_tokens)
    return Scores(torch.cat([part.log_probabilities for part in parts]), lost)


@torch.inference_mode()
def score(
    backbone: Backbone, head: PetHead, task: TaskSpec, texts: Sequence[Fields], calibration: CalibrationSpec | None
) -> Scores:
    """Score texts under every pattern of a task; the patterns' log-probabilities are averaged and normalised again.

    In a multi-label task the logits are averaged. The scores of a text's windows are pooled before.
    """
    said: list[PatternLogits] = []
    for index, pattern in enumerate(task.patterns):
        windows = Encoder(backbone.tokenizer, pattern, backbone.max_tokens, task.tokenization).encode_windows(texts)
        logits = torch.zeros(len(windows.encoded), len(task.labels))  # [W, L]
        for rows in length_batches([len(item.input_ids) for item in windows.encoded], TOKENS_PER_BATCH):
            batch = pad_batch([windows.encoded[row] for row in rows], backbone.pad_id)
            logits[rows] = head(backbone.read(batch, head.shape.pool_layers), index).float().cpu()
        said.append(PatternLogits(logits, windows.owner, windows.lost_tokens))
    return combined(task, said, calibration)


@dataclass(frozen=True)
class PatternLogits:
    """What a head says of texts in one pattern.

    Attributes:
        logits: By window, [W, L].
        owner: By window, which of the texts it is of.
        lost_tokens: By text.
    """

    logits: Tensor
    owner: tuple[int, ...]
    lost_tokens: tuple[int, ...]


def combined(task: TaskSpec, said: Sequence[PatternLogits], calibration: CalibrationSpec | None) -> Scores:
    """Scores of texts from the logits of their windows in every pattern of the task."""
    single = task.type == "single-label"
    total = torch.zeros(len(said[0].lost_tokens), len(task.labels))
    for part, pattern in zip(said, task.patterns, strict=True):
        scores = torch.log_softmax(part.logits, dim=-1) if single else part.logits
        if pattern.windowing is not None:
            scores = pool_windows(scores, part.owner, pattern.windowing.pool)
        total += scores  # [N, L]
    logits = calibrated(total / len(said), calibration)
    lost = tuple(max(of_text) for of_text in zip(*(part.lost_tokens for part in said), strict=True))
    return Scores(torch.log_softmax(logits, dim=-1) if single else logsigmoid(logits), lost)


def calibrated(logits: Tensor, calibration: CalibrationSpec | None) -> Tensor:
    """Logits [N, L] as a calibration changes them."""
    if calibration is not None:
        logits = logits / calibration.temperature
        if calibration.class_bias is not None:
            logits = logits + torch.tensor(calibration.class_bias)
    return logits
