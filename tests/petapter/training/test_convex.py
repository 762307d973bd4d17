"""The convex head against scikit-learn and against a straight minimiser of the stated objective."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from petapter.training import convex
from petapter.training.convex import (
    Evidence,
    Link,
    convex_logits,
    fit_convex_head,
    loss_of,
    part_of,
    stratified_folds,
    words_alone,
)


def evidence(rows: int = 24, labels: int = 3, *, noise: float = 1.0, link: Link = "softmax", seed: int = 0) -> Evidence:
    """Rows whose first block carries the label and whose second is noise; the words say nothing."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.eye(labels)[torch.arange(rows) % labels]
    centres = torch.randn(labels, 6, generator=generator)
    first = targets @ centres + noise * torch.randn(rows, 6, generator=generator)
    second = torch.randn(rows, 4, generator=generator)
    return Evidence((first, second), torch.zeros(rows, labels), targets, torch.ones(rows), link)


def direct(features: np.ndarray, given: Evidence, start: Tensor, penalty: float) -> np.ndarray:
    """Reference: logits of the minimiser of sum w CE + penalty / 2 (|W|^2 + 10 |c|^2), found by scipy's L-BFGS."""
    rows, labels = given.targets.shape
    design = np.concatenate([features, np.full((rows, 1), np.sqrt(0.1))], axis=1)
    targets, weights = given.targets.double().numpy(), given.weights.double().numpy()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(design.shape[1], labels)
        logits = design @ weight + start.double().numpy()
        top = logits.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        shares = np.exp(logits - log_sum[:, None])
        loss = float(weights @ (log_sum - (logits * targets).sum(axis=1)) + penalty / 2 * (weight**2).sum())
        return loss, (design.T @ ((shares - targets) * weights[:, None]) + penalty * weight).ravel()

    found = minimize(objective, np.zeros(design.shape[1] * labels), jac=True, options={"maxiter": 5000, "gtol": 1e-9})
    return np.asarray(design @ found.x.reshape(design.shape[1], labels) + start.double().numpy())


@pytest.mark.parametrize("penalty", [0.3, 3.0])
def test_head_minimises_the_stated_objective(monkeypatch: pytest.MonkeyPatch, penalty: float) -> None:
    monkeypatch.setattr(convex, "TRUSTS", (0.3,))
    monkeypatch.setattr(convex, "_SCALES", torch.ones(1, dtype=torch.float64))
    given = evidence()
    given = Evidence(given.blocks[:1], torch.randn(24, 3), given.targets, torch.rand(24) + 0.5, "softmax")
    head = fit_convex_head(given, (penalty,))
    block, mass = given.blocks[0].double(), given.weights.double().unsqueeze(1)
    centred = block - (block * mass).mean(dim=0)
    size = centred.square().sum(dim=1).mean().sqrt()
    logits = head.trust * given.words.double() + block @ head.maps[0].T + head.offset
    expected = direct((centred / size).numpy(), given, 0.3 * given.words, penalty)
    np.testing.assert_allclose(logits.numpy(), expected, atol=2e-3)


def test_left_out_scores_are_those_of_heads_that_did_not_see_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convex, "TRUSTS", (0.0,))
    monkeypatch.setattr(convex, "_SCALES", torch.ones(1, dtype=torch.float64))
    given = evidence(rows=9)
    given = Evidence(given.blocks[:1], given.words, given.targets, given.weights, "softmax")
    head = fit_convex_head(given, (1.0,))
    block = given.blocks[0].double()
    centred = block - block.mean(dim=0)
    features = (centred / centred.square().sum(dim=1).mean().sqrt()).numpy()
    for row in range(9):
        weights = torch.ones(9)
        weights[row] = 0.0
        without = Evidence(given.blocks, given.words, given.targets, weights, "softmax")
        expected = direct(features, without, given.words, 1.0)[row]
        np.testing.assert_allclose(head.out_of_fold[row].numpy(), expected, atol=3e-3)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_faint_head_is_scaled_to_what_its_left_out_scores_bear(monkeypatch: pytest.MonkeyPatch, link: Link) -> None:
    given = evidence(rows=60, noise=0.3, link=link)
    scaled = fit_convex_head(given, (100.0,))
    monkeypatch.setattr(convex, "_SCALES", torch.ones(1, dtype=torch.float64))
    faint = fit_convex_head(given, (100.0,))
    assert scaled.loss < 0.5 * faint.loss
    assert scaled.maps[0].norm() > 3 * faint.maps[0].norm()
    assert torch.equal(scaled.out_of_fold.argmax(dim=1), faint.out_of_fold.argmax(dim=1))


def test_scale_of_few_rows_stays_near_one() -> None:
    # four rows that are all told right would be scaled without end, were it not for the prior: e^2 is two of its widths
    given = evidence(rows=4, labels=2, noise=0.01)
    unscaled = Evidence(given.blocks[:1], given.words, given.targets, given.weights, "softmax")
    logits = 5 * unscaled.targets.double()
    assert 1 <= convex._best_scale(logits, unscaled) < np.exp(2)


def test_words_alone_say_what_the_words_say() -> None:
    given = evidence()
    given = Evidence(given.blocks, torch.randn(24, 3), given.targets, given.weights, "softmax")
    torch.testing.assert_close(convex_logits(words_alone(given), given), given.words.double())


def test_part_of_the_rows_weighs_one_on_average() -> None:
    given = evidence()
    given = Evidence(given.blocks, given.words, given.targets, torch.rand(24) + 0.5, "softmax")
    part = part_of(given, [3, 1, 20])
    assert part.weights.mean() == pytest.approx(1)
    assert torch.equal(part.blocks[0], given.blocks[0][[3, 1, 20]])
    assert torch.equal(part.targets, given.targets[[3, 1, 20]])


def test_block_that_carries_the_label_gets_the_weight() -> None:
    given = evidence(noise=0.3)
    head = fit_convex_head(given)
    informative = (given.blocks[0].double() @ head.maps[0].T).std()
    noise = (given.blocks[1].double() @ head.maps[1].T).std()
    assert informative > 5 * noise


def test_words_that_know_the_label_are_trusted_and_words_that_mislead_are_not() -> None:
    given = evidence(rows=12, noise=3.0)
    knowing = Evidence(given.blocks, 4 * given.targets, given.targets, given.weights, "softmax")
    misleading = Evidence(given.blocks, 4 * given.targets.roll(1, dims=1), given.targets, given.weights, "softmax")
    assert fit_convex_head(knowing).trust > 0.5
    assert fit_convex_head(misleading).trust < 0.05


def test_head_is_the_same_at_every_call() -> None:
    given = evidence()
    first, second = fit_convex_head(given), fit_convex_head(given)
    assert torch.equal(first.out_of_fold, second.out_of_fold)
    assert all(torch.equal(a, b) for a, b in zip(first.maps, second.maps, strict=True))


def test_left_out_loss_is_above_the_loss_on_the_rows_themselves() -> None:
    given = evidence(rows=60, noise=2.0)
    head = fit_convex_head(given)
    logits = head.offset + sum(block.double() @ weight.T for block, weight in zip(given.blocks, head.maps, strict=True))
    assert head.loss > loss_of(logits, given)


def test_labels_of_their_own_are_learnt_with_a_sigmoid() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 5, generator=generator)
    targets = (features[:, :2] > 0).float()
    given = Evidence((features,), torch.zeros(40, 2), targets, torch.ones(40), "sigmoid")
    head = fit_convex_head(given)
    assert ((head.out_of_fold > 0) == (targets > 0)).double().mean() > 0.85


def test_rows_of_one_label_go_round_the_folds() -> None:
    targets = torch.eye(2)[torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])]
    folds = stratified_folds(targets, 4)
    assert sorted(folds[:4]) == sorted(folds[4:]) == [0, 1, 2, 3]
