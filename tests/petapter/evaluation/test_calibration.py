import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import log_loss

from petapter.evaluation import fit_calibration
from petapter.evaluation.calibration import (
    BIAS_WIDTH,
    LOG_TEMPERATURE_WIDTH,
    _fit,
    _gradients,
    _hessians,
    _leave_one_out_loss,
    _losses,
    _Rows,
)
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import CalibrationSpec
from tests.petapter.evaluation.scored_rows import Floats, Ints, scored, softmax


def rows_of(logits: Floats, gold: Ints, weights: Floats | None = None) -> _Rows:
    labels = logits.shape[1]
    w = np.ones(len(gold)) if weights is None else weights
    return _Rows(np.log(softmax(logits)), np.eye(labels)[gold], w, np.zeros(labels))


def calibrated(calibration: CalibrationSpec, logits: Floats) -> Floats:
    return softmax(np.log(softmax(logits)) / calibration.temperature + np.array(calibration.class_bias or 0.0))


def loss(calibration: CalibrationSpec, logits: Floats, gold: Ints) -> float:
    probabilities = calibrated(calibration, logits)
    return float(log_loss(gold, probabilities, labels=list(range(logits.shape[1]))))


@pytest.mark.parametrize("temperature", [0.5, 2.0, 5.0])
def test_true_temperature_is_found(temperature: float) -> None:
    found = fit_calibration(*scored(3000, temperature=temperature)).temperature
    assert found == pytest.approx(temperature, rel=0.08)


def test_true_bias_is_found() -> None:
    bias = np.array([0.9, -0.3, -0.6, 0.0])
    found = fit_calibration(*scored(3000, temperature=2.0, bias=bias))
    assert found.temperature == pytest.approx(2.0, rel=0.08)
    assert found.class_bias == pytest.approx(bias, abs=0.15)
    assert sum(found.class_bias or (1.0,)) == pytest.approx(0, abs=1e-9)


def test_calibrated_probabilities_are_right_as_often_as_they_say() -> None:
    logits, gold = scored(400, temperature=3.0)
    fresh, truth = scored(4000, temperature=3.0, seed=1)
    raw, better = softmax(fresh), calibrated(fit_calibration(logits, gold), fresh)
    off = [abs(p.max(axis=1).mean() - (p.argmax(axis=1) == truth).mean()) for p in (raw, better)]
    assert off[0] > 0.15
    assert off[1] < 0.03


@pytest.mark.parametrize("rows", [10, 25, 60, 100])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_calibration_from_few_rows_pays_on_fresh_rows(rows: int, temperature: float) -> None:
    gains = []
    for seed in range(20):
        calibration = fit_calibration(*scored(rows, temperature=temperature, seed=seed))
        fresh, gold = scored(1000, temperature=temperature, seed=1000 + seed)
        gains.append(loss(CalibrationSpec(), fresh, gold) - loss(calibration, fresh, gold))
    if temperature == 1.0:
        assert np.mean(gains) > -0.03  # nothing to gain, and little lost
    else:
        assert np.mean(gains) > 0.2
        assert min(gains) >= (-0.2 if rows == 10 else 0.0)  # ten rows may all be right by luck


def test_prior_holds_the_temperature_of_ten_rows_near_one() -> None:
    # ten sure and right answers: the likelihood alone would make the temperature 0
    logits = np.where(np.eye(2)[np.arange(10) % 2] > 0, 3.0, 0.0)
    assert 0.3 < fit_calibration(logits, np.arange(10) % 2).temperature < 1


def test_fit_is_the_least_penalised_loss() -> None:
    logits, gold = scored(50, temperature=2.0)
    rows = rows_of(logits, gold)

    def objective(theta: Floats) -> float:
        # written anew: cross-entropy of softmax(a x + b), gamma prior of a, normal prior of b
        p = softmax(theta[0] * logits + theta[1:])
        fit = -np.log(p[np.arange(50), gold]).sum()
        return float(
            fit
            + (theta[0] - np.log(theta[0])) / LOG_TEMPERATURE_WIDTH**2
            + (theta[1:] ** 2).sum() / (2 * BIAS_WIDTH**2)
        )

    best = minimize(objective, [1.0, 0, 0, 0, 0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    best = minimize(objective, best.x, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert _fit(rows, 5) == pytest.approx(best.x, abs=1e-4)


def test_gradients_and_hessians_are_those_of_the_loss() -> None:
    # central differences
    logits, gold = scored(7, labels=3)
    rows = rows_of(logits, gold, np.linspace(0.5, 1.5, 7))
    theta, step = np.array([0.8, 0.2, -0.3, 0.1]), 1e-5
    gradients, hessians = _gradients(rows, theta), _hessians(rows, theta, slice(0, 7))
    for axis, unit in enumerate(np.eye(4) * step):
        up, down = theta + unit, theta - unit
        by_loss = rows.w * (_losses(rows, up) - _losses(rows, down)) / (2 * step)
        assert gradients[:, axis] == pytest.approx(by_loss, abs=1e-8)
        by_gradient = (_gradients(rows, up) - _gradients(rows, down)) / (2 * step)
        assert hessians[:, axis] == pytest.approx(by_gradient, abs=1e-8)


@pytest.mark.parametrize(("count", "free"), [(12, 1), (40, 5), (100, 5)])
def test_leave_one_out_loss_is_that_of_refitting(count: int, free: int) -> None:
    logits, gold = scored(count, temperature=2.0)
    rows = rows_of(logits, gold, np.random.default_rng(0).uniform(0.5, 1.5, size=count))
    refitted = []
    for left_out in range(count):
        keep = np.arange(count) != left_out
        theta = _fit(_Rows(rows.x[keep], rows.y[keep], rows.w[keep], rows.offset), free)
        refitted.append(_losses(rows, theta)[left_out])
    exact = float(np.average(refitted, weights=rows.w))
    in_sample = float(np.average(_losses(rows, _fit(rows, free)), weights=rows.w))
    approximate = _leave_one_out_loss(rows, _fit(rows, free), free)
    # below 40 rows it is refitted, above it is far closer to that than the loss in sample is
    assert abs(approximate - exact) < (1e-9 if count < 40 else 0.1 * (exact - in_sample))


def test_scores_that_are_calibrated_are_left_alone_as_leave_one_out_says() -> None:
    unchanged = 0
    for seed in range(20):
        logits, gold = scored(30, seed=seed)
        rows = rows_of(logits, gold)
        found = fit_calibration(logits, gold)
        plain = float(_losses(rows, np.array([1.0, 0, 0, 0, 0])).mean())
        fitted = _leave_one_out_loss(rows, _fit(rows, 1), 1)
        assert (found == CalibrationSpec()) == (plain <= fitted)
        unchanged += found == CalibrationSpec()
    assert unchanged >= 10


@pytest.mark.parametrize(("rows", "has_bias"), [(39, False), (40, True)])
def test_bias_is_fitted_from_forty_rows_on(rows: int, has_bias: bool) -> None:
    logits, gold = scored(rows, labels=2, bias=np.array([1.5, -1.5]))
    assert (fit_calibration(logits, gold).class_bias is not None) == has_bias


def test_bias_is_not_fitted_where_a_label_has_one_row() -> None:
    logits, gold = scored(200, labels=2, bias=np.array([1.5, -1.5]))
    keep = np.concatenate([np.flatnonzero(gold == 0), np.flatnonzero(gold == 1)[:1]])
    assert fit_calibration(logits[keep], gold[keep]).class_bias is None


def test_unequal_weights_count_as_fewer_rows() -> None:
    logits, gold = scored(60, labels=2, bias=np.array([1.5, -1.5]))
    weights = np.where(np.arange(60) < 20, 1.0, 1e-6)  # as good as 20 rows
    assert fit_calibration(logits, gold).class_bias is not None
    assert fit_calibration(logits, gold, weights=weights).class_bias is None


def test_row_of_weight_two_is_two_rows() -> None:
    logits, gold = scored(30, temperature=3.0)
    twice = np.concatenate([np.arange(30), np.arange(10)])
    weights = np.where(np.arange(30) < 10, 2.0, 1.0) * 30 / 40  # of mean 1, as within
    penalty_scale = 40 / 30  # 30 rows of mean weight 1 weigh 30, their doubles 40
    by_weight = _fit(rows_of(logits, gold, weights * penalty_scale), 1)
    by_row = _fit(rows_of(logits[twice], gold[twice]), 1)
    assert by_weight == pytest.approx(by_row, rel=1e-6)


@pytest.mark.parametrize("rows", [1, 8, 100])
def test_rows_of_one_label_say_nothing(rows: int) -> None:
    logits, _ = scored(rows)
    assert fit_calibration(logits, np.zeros(rows, dtype=int), class_prior=[1, 1, 1, 1]) == CalibrationSpec()


def test_impossible_answers_do_not_break_the_fit() -> None:
    logits, gold = scored(50, temperature=2.0)
    logits[0, gold[0]] = -np.inf  # and the right one at that
    found = fit_calibration(logits, gold)
    assert 1 < found.temperature < 100
    assert np.isfinite(found.class_bias or 0.0).all()


def test_constant_per_row_does_not_matter() -> None:
    logits, gold = scored(50, temperature=2.0)
    shifted = logits + np.random.default_rng(0).normal(size=(50, 1)) * 10
    assert fit_calibration(shifted, gold).temperature == pytest.approx(fit_calibration(logits, gold).temperature)


def test_shares_elsewhere_shift_the_odds() -> None:
    # Bayes: odds of balanced rows times the change in shares, 9 to 1
    logits, gold = scored(2000, labels=2, temperature=2.0)
    found = fit_calibration(logits, gold, class_prior=[0.9, 0.1])
    first, second = found.class_bias or (0.0, 0.0)
    assert first - second == pytest.approx(np.log(9), abs=0.3)
    assert found.temperature == pytest.approx(2.0, rel=0.15)


def test_shift_of_few_rows_is_that_of_the_shares_alone() -> None:
    logits, gold = scored(20, labels=2, temperature=2.0)
    share = (np.bincount(gold, minlength=2) + 0.5) / 21
    first, second = fit_calibration(logits, gold, class_prior=[9, 1]).class_bias or (0.0, 0.0)
    assert first - second == pytest.approx(np.log(9) - np.log(share[0] / share[1]))


def test_many_labels_are_calibrated() -> None:
    found = fit_calibration(*scored(400, labels=80, temperature=2.5))
    assert found.temperature == pytest.approx(2.5, rel=0.1)


@pytest.mark.parametrize(
    ("scores", "gold", "options", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, dtype=int), {}, "no out-of-fold rows"),
        (np.zeros((2, 1)), [0, 0], {}, r"found \[2, 1\]"),
        (np.zeros((2, 2)), [0], {}, r"found \[2, 2\], \[1\]"),
        (np.zeros((2, 2)), [0, 2], {}, "positions from 0 to 1"),
        (np.zeros((2, 2)), [0.0, 1.0], {}, "positions from 0 to 1"),
        ([[0, np.nan], [0, 1]], [0, 1], {}, "not numbers"),
        ([[-np.inf, -np.inf], [0, 1]], [0, 1], {}, "all minus infinity"),
        (np.zeros((2, 2)), [0, 1], {"weights": [1, 0]}, "2 positive numbers"),
        (np.zeros((2, 2)), [0, 1], {"class_prior": [1, 0]}, "2 positive shares"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(
    scores: object, gold: object, options: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit_calibration(scores, gold, **options)
