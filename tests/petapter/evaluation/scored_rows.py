"""Simulated scores whose best possible calibration is known."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float64)


def scored(
    rows: int, *, labels: int = 4, temperature: float = 1.0, bias: Floats | None = None, seed: int = 0
) -> tuple[Floats, Ints]:
    """Logits [N, L] and labels drawn from softmax(logits / temperature + bias): that calibration is the true one."""
    random = np.random.default_rng(seed)
    true_logits = random.normal(size=(rows, labels)) * 2
    probabilities = softmax(true_logits)
    gold = (probabilities.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1).clip(max=labels - 1)
    return (true_logits - (0 if bias is None else bias)) * temperature, gold
