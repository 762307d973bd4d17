"""Fits temperature and class bias on out-of-fold scores, so that a probability of 0.9 is right nine times out of ten.

probabilities = softmax(logits / temperature + class_bias): temperature scaling (Guo et al. 2017, arXiv 1706.04599) and,
with enough rows, a bias per label. With 10 to 100 rows the maximum of the likelihood is mostly noise, so priors hold
both near the identity, and leave-one-out decides whether to leave it at all.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

from petapter.evaluation.arrays import Floats, Ints, checked_weights
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import CalibrationSpec

ROWS_FOR_BIAS = 40
ROWS_PER_LABEL_FOR_BIAS = 2

LOG_TEMPERATURE_WIDTH = 0.35
"""Without rows, 95 % of temperatures are thought to lie within 0.5 to 2 (Guo et al. 2017 find 1 to 3). It weighs
1 / 0.35^2 = 8 where a row of two labels weighs p (1 - p) logit(p)^2, 0.1 to 0.4 for p from 0.65 to 0.99: at 10 rows the
prior decides, at 100 the rows. In simulations of 10 rows a width of 0.5 gains as much on the mean (0.24 nats against
0.22 at a true temperature of 3) and loses twice as much in the worst draw (0.31 against 0.17)."""

BIAS_WIDTH = 0.5
"""A label's odds against the mean of the others are thought to be off by up to a factor e^(2 * 0.5) = 2.7. It weighs 4
where n rows of L balanced labels weigh n (1 / L) (1 - 1 / L): about as much as 21 rows of 4 labels."""

_FLOOR = -50.0
"""A log-probability of minus infinity counts as this: a temperature cannot repair it and must not try to."""

_LEAST_SLOPE = 0.02
_CELLS_PER_CHUNK = 4_000_000


@dataclass(frozen=True)
class _Rows:
    """Scores x [N, L], one-hot labels y [N, L], weights w [N] of mean 1, and the fixed part of the bias [L]."""

    x: Floats
    y: Floats
    w: Floats
    offset: Floats


def fit_calibration(
    log_probabilities: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    class_prior: npt.ArrayLike | None = None,
) -> CalibrationSpec:
    """Fit how scores become probabilities.

    Minimises the log loss of softmax(a x + b), a = 1 / temperature, plus the negative log of the priors: a gamma
    density of a with mode 1 and `LOG_TEMPERATURE_WIDTH` as the standard deviation of log a (the near twin of a
    log-normal one that keeps the problem convex in a and b), and a normal density of each b around 0. Below 40 rows
    only the temperature is fitted; from 40 on also the bias, where each label has two rows or more. Either is kept only
    if the log loss by leave-one-out improves, so by that measure the result is never worse than the scores as they are,
    which is also the result where the rows have one label only.

    Args:
        log_probabilities: [N, L], each row from a model that was not trained on it; up to a constant per row.
        gold: [N], the positions of the right labels.
        weights: [N], how much each row counts; with unequal ones the effective number (Kish 1965) replaces N.
        class_prior: [L], the share of each label where the module will be used, if it is not that of the rows. The rows
            are weighted to these shares, and the bias is that of the change in shares (Saerens et al. 2002) plus the
            fitted one.

    Raises:
        DataError: Shapes do not fit, there are no rows, or a number cannot be used.
    """
    x, labels = _checked_scores(log_probabilities, gold)
    w = checked_weights(weights, len(x))
    offset = np.zeros(x.shape[1])
    if class_prior is not None:
        w, offset = _shifted(_checked_prior(class_prior, x.shape[1]), labels, w)
    if len(np.unique(labels)) == 1:  # they say nothing of the other labels
        return CalibrationSpec()
    rows = _Rows(x, np.eye(x.shape[1])[labels], w * len(w) / w.sum(), offset)
    plain = _Rows(rows.x, rows.y, rows.w, np.zeros_like(offset))
    start = np.concatenate([[1.0], np.zeros_like(offset)])
    # from the simplest to the richest; each must be better than all before it
    candidates = [(_weighted_loss(plain, start), 1.0, plain.offset)]
    if offset.any():
        candidates.append((_weighted_loss(rows, start), 1.0, offset))
    for free in (1, len(start)) if _can_fit_bias(rows, labels) else (1,):
        theta = _fit(rows, free)
        candidates.append((_leave_one_out_loss(rows, theta, free), float(theta[0]), offset + theta[1:]))
    _, slope, bias = min(candidates, key=lambda candidate: candidate[0])
    return _spec(1 / slope, bias)


def _can_fit_bias(rows: _Rows, labels: Ints) -> bool:
    effective = rows.w.sum() ** 2 / (rows.w**2).sum()
    counts = np.bincount(labels, minlength=rows.x.shape[1])
    return bool(effective >= ROWS_FOR_BIAS and counts.min() >= ROWS_PER_LABEL_FOR_BIAS)


def _spec(temperature: float, bias: Floats) -> CalibrationSpec:
    if not bias.any():
        return CalibrationSpec(temperature=temperature)
    return CalibrationSpec(temperature=temperature, class_bias=tuple((bias - bias.mean()).tolist()))


def _fit(rows: _Rows, free: int) -> Floats:
    """The best a and b [1 + L] of which the first `free` are fitted and the others stay 0."""
    start = np.zeros(1 + rows.x.shape[1])
    start[0] = 1.0

    def objective(values: Floats) -> tuple[float, Floats]:
        theta = np.concatenate([values, start[free:]])
        loss = float(rows.w @ _losses(rows, theta)) + _penalty(theta)
        return loss, (_gradients(rows, theta).sum(axis=0) + _penalty_gradient(theta))[:free]

    bounds = [(_LEAST_SLOPE, None), *[(None, None)] * (free - 1)]
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(objective, start[:free], jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return np.concatenate([found.x, start[free:]])


def _leave_one_out_loss(rows: _Rows, theta: Floats, free: int) -> float:
    """The mean log loss of each row under the parameters fitted without it."""
    if len(rows.x) < ROWS_FOR_BIAS:
        losses = [_loss_when_refitted(rows, row, free) for row in range(len(rows.x))]
    else:
        losses = _losses_one_step_away(rows, theta, free).tolist()
    return float(rows.w @ losses / rows.w.sum())


def _loss_when_refitted(rows: _Rows, row: int, free: int) -> float:
    keep = np.arange(len(rows.x)) != row
    theta = _fit(_Rows(rows.x[keep], rows.y[keep], rows.w[keep], rows.offset), free)
    return float(_losses(_Rows(rows.x[[row]], rows.y[[row]], rows.w[[row]], rows.offset), theta)[0])


def _losses_one_step_away(rows: _Rows, theta: Floats, free: int) -> Floats:
    """The loss of each row under one Newton step from the common optimum to the one without it.

    The step is (H - h_i)^-1 g_i, with the Hessian H of all and the gradient g_i and Hessian h_i of row i; it is close
    for a smooth, convex loss (Rad and Maleki 2018, arXiv 1801.10243).
    """
    gradients = _gradients(rows, theta)[:, :free]  # [N, P]
    size = max(1, _CELLS_PER_CHUNK // free**2)
    chunks = [slice(start, start + size) for start in range(0, len(rows.x), size)]
    total = np.diag(_penalty_curvature(theta)[:free])
    for chunk in chunks:
        total = total + _hessians(rows, theta, chunk)[:, :free, :free].sum(axis=0)
    losses = []
    for chunk in chunks:
        without = total - _hessians(rows, theta, chunk)[:, :free, :free]  # [n, P, P]
        moved = np.tile(theta, (len(without), 1))
        moved[:, :free] += np.linalg.solve(without, gradients[chunk, :, None])[:, :, 0]
        moved[:, 0] = moved[:, 0].clip(_LEAST_SLOPE)
        part = _Rows(rows.x[chunk], rows.y[chunk], rows.w[chunk], rows.offset)
        losses.append(_losses(part, moved))
    return np.concatenate(losses)


def _weighted_loss(rows: _Rows, theta: Floats) -> float:
    return float(rows.w @ _losses(rows, theta) / rows.w.sum())


def _log_probabilities(rows: _Rows, theta: Floats) -> Floats:
    """[N, L] under parameters [1 + L], or [N, 1 + L] for other ones in each row."""
    logits = theta[..., :1] * rows.x + theta[..., 1:] + rows.offset
    return np.asarray(log_softmax(logits, axis=1), dtype=np.float64)


def _losses(rows: _Rows, theta: Floats) -> Floats:
    return np.asarray(-(rows.y * _log_probabilities(rows, theta)).sum(axis=1), dtype=np.float64)


def _gradients(rows: _Rows, theta: Floats) -> Floats:
    """Of each row's weighted loss by a and b, [N, 1 + L]."""
    off = rows.w[:, None] * (np.exp(_log_probabilities(rows, theta)) - rows.y)  # [N, L]
    return np.concatenate([(off * rows.x).sum(axis=1, keepdims=True), off], axis=1)


def _hessians(rows: _Rows, theta: Floats, chunk: slice) -> Floats:
    """Of each row's weighted loss, [n, 1 + L, 1 + L]: J' (diag(p) - p p') J with J = [x, I]."""
    part = _Rows(rows.x[chunk], rows.y[chunk], rows.w[chunk], rows.offset)
    p = np.exp(_log_probabilities(part, theta))  # [n, L]
    labels = p.shape[1]
    centred = part.x - (p * part.x).sum(axis=1, keepdims=True)
    hessians = np.empty((len(p), labels + 1, labels + 1))
    hessians[:, 0, 0] = (p * centred**2).sum(axis=1)
    hessians[:, 0, 1:] = hessians[:, 1:, 0] = p * centred
    hessians[:, 1:, 1:] = np.eye(labels) * p[:, :, None] - p[:, :, None] * p[:, None, :]
    return hessians * part.w[:, None, None]


def _penalty(theta: Floats) -> float:
    a, b = theta[0], theta[1:]
    return float((a - 1 - np.log(a)) / LOG_TEMPERATURE_WIDTH**2 + (b @ b) / (2 * BIAS_WIDTH**2))


def _penalty_gradient(theta: Floats) -> Floats:
    return np.concatenate([[(1 - 1 / theta[0]) / LOG_TEMPERATURE_WIDTH**2], theta[1:] / BIAS_WIDTH**2])


def _penalty_curvature(theta: Floats) -> Floats:
    """The diagonal of the penalty's Hessian, [1 + L]."""
    flat = np.full(len(theta) - 1, 1 / BIAS_WIDTH**2)
    return np.concatenate([[1 / (theta[0] * LOG_TEMPERATURE_WIDTH) ** 2], flat])


def _shifted(prior: Floats, labels: Ints, w: Floats) -> tuple[Floats, Floats]:
    """Weights that give the labels of the rows their prior shares, and the log-odds [L] of the change in shares."""
    mass = np.bincount(labels, weights=w, minlength=len(prior))
    share = (mass + 0.5) / (mass.sum() + 0.5 * len(prior))  # a label may have no row
    offset = np.log(prior) - np.log(share)
    return w * prior[labels] / mass[labels], offset - offset.mean()


def _checked_scores(log_probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> tuple[Floats, Ints]:
    x, labels = np.asarray(log_probabilities, dtype=np.float64), np.asarray(gold)
    if x.ndim != 2 or labels.shape != x.shape[:1] or x.shape[1] < 2:  # noqa: PLR2004 (two axes, two labels)
        raise DataError(
            f"expected scores [rows, labels] and labels [rows], found {list(x.shape)}, {list(labels.shape)}"
        )
    if not len(x):
        raise DataError("there are no out-of-fold rows to calibrate on: pass at least one")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= x.shape[1]:
        raise DataError(f"gold labels must be positions from 0 to {x.shape[1] - 1}")
    if np.isnan(x).any() or np.isposinf(x).any() or np.isneginf(x).all(axis=1).any():
        raise DataError("a row's scores are not numbers, or all minus infinity: the model that gave them is broken")
    return log_softmax(x, axis=1).clip(_FLOOR), labels.astype(np.int64)


def _checked_prior(class_prior: npt.ArrayLike, labels: int) -> Floats:
    prior = np.asarray(class_prior, dtype=np.float64)
    if prior.shape != (labels,) or not (np.isfinite(prior) & (prior > 0)).all():
        raise DataError(f"class_prior must be {labels} positive shares, one per label")
    return np.asarray(prior / prior.sum(), dtype=np.float64)
