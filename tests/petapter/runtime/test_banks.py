"""What the adapters of one form share in a pass."""

import weakref

import pytest
import torch

from petapter import Backbone, Engine, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.runtime import banks
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.runtime.test_equality import with_adapter

TEXTS = ("a good game", "a bad game by far")


def trained(backbone: Backbone, choice: AdapterChoice) -> TrainedModule:
    base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    return with_adapter(base, backbone, choice, 0)


def products(monkeypatch: pytest.MonkeyPatch, backbone: Backbone, module: TrainedModule) -> list[tuple[int, int]]:
    """Rows and columns of all grouped products of a pass of two modules."""
    found: list[tuple[int, int]] = []
    whole = banks.grouped_product

    def counted(read: torch.Tensor, weights: torch.Tensor, groups: object) -> torch.Tensor:
        result = whole(read, weights, groups)  # type: ignore[arg-type]
        found.append((result.shape[0], result.shape[1]))
        return result

    with Engine(backbone) as engine:
        for alias in ("a", "b"):
            engine.load(module, alias)
        monkeypatch.setattr(banks, "grouped_product", counted)
        engine.predict([(alias, text) for alias in ("a", "b") for text in TEXTS])
    return found


def test_projections_of_one_attention_go_down_in_one_product(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    found = products(monkeypatch, bert, trained(bert, AdapterChoice(rank=4)))
    tokens, hidden = max(rows for rows, _ in found), bert.hidden_size
    whole_layer = [(tokens, 4 + 4), (tokens, hidden), (tokens, hidden)]  # queries and values; then each back up
    assert found[:3] == whole_layer
    masks = 2 * len(TEXTS)  # the last layer has fewer queries than values
    assert sorted(found[3:]) == sorted([(tokens, 8), (tokens, hidden), (masks, 8), (masks, hidden)])


def test_maps_that_read_something_else_go_down_by_themselves(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbone_of("distilbert")
    choice = AdapterChoice(rank=4, targets=("q_lin", "out_lin"))
    found = products(monkeypatch, backbone, trained(backbone, choice))
    assert {columns for _, columns in found} == {4, backbone.hidden_size}


def test_rows_of_one_pass_go_before_those_of_the_next_are_laid(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    module = trained(bert, AdapterChoice(rank=4))
    whole = torch.stack
    laid: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watched(tensors: list[torch.Tensor]) -> torch.Tensor:
        result = whole(tensors)
        if tensors[0].shape == row.shape:
            alive.append(sum(one() is not None for one in laid))
            laid.append(weakref.ref(result))
        return result

    with Engine(bert) as engine:
        for number in range(6):
            engine.load(module, f"m{number}")
        row = engine._runner._banks[0]._rows[0]
        monkeypatch.setattr(torch, "stack", watched)
        for first in (0, 2, 4):
            engine.predict([(f"m{number}", text) for number in (first, first + 1) for text in TEXTS])
    assert alive == [0, 0, 0]
