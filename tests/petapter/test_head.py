from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from petapter import Backbone
from petapter.backbone import Reading
from petapter.head import (
    HeadChoice,
    HeadShape,
    Norm,
    PetHead,
    Trains,
    head_spec,
    new_head,
    part_parameters,
    restore_head,
)
from petapter.mlm_head import read_mlm_head
from petapter.task import Encoder, Verbalizer, pad_batch, read_verbalizer, task_from_options
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.manifest import MAX_FEATURES
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES, EMBEDDINGS, HIDDEN

TEXTS = [{"text": "the match was good"}, {"text": "no"}, {"text": "all the world is in this market"}]
ONE_WORD = Verbalizer((((5,),), ((9,),), ((7,),)))
SEVERAL_WORDS = Verbalizer((((5,), (9,)), ((7,),)))
TWO_MASKS = Verbalizer((((5, 9),), ((9, 5),), ((5, 7),)))
SHAPE = HeadShape(HIDDEN, HIDDEN, "gelu", "layer-norm", 1e-12)
SHORTER_WORDS = Verbalizer((((5, 9), (7,)), ((4,),)))


def new(verbalizer: Verbalizer) -> PetHead:
    """A head with random values in every part."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = PetHead(verbalizer, SHAPE)
        for parameter in head.parameters():
            parameter.data = torch.randn_like(parameter)
    return head.requires_grad_(False)


def hidden_states(masks: int) -> Tensor:
    return torch.randn(4, masks, HIDDEN, generator=torch.Generator().manual_seed(1))


def score_by_hand(head: PetHead, verbalizer: Verbalizer, hidden: Tensor) -> Tensor:
    """The formula at the top of petapter/head.py, one number at a time."""
    masks = hidden.shape[1]
    logits = torch.zeros(len(hidden), len(verbalizer.ids))
    for row in range(len(hidden)):
        for label, words in enumerate(verbalizer.ids):
            for word in words:
                for mask, token in enumerate(word):
                    raw = torch.nn.functional.gelu(head.dense.weight @ hidden[row, mask] + head.dense.bias)
                    centred = raw - raw.mean()
                    normed = centred / torch.sqrt(centred.pow(2).mean() + 1e-12) * head.norm.weight + head.norm.bias
                    index = verbalizer.row_token_ids.index(token)
                    score = head.rows.weight[index] @ normed + head.rows.bias[index]
                    logits[row, label] += score * masks / len(word) / len(words)
    return logits


@pytest.mark.parametrize(
    ("verbalizer", "masks"),
    [(ONE_WORD, 1), (SEVERAL_WORDS, 1), (TWO_MASKS, 2), (SHORTER_WORDS, 2), (ONE_WORD, 2), (SHORTER_WORDS, 3)],
    ids=["one-word", "several-words", "two-masks", "shorter-words", "one-token-two-masks", "three-masks"],
)
def test_scores_are_those_of_the_formula(verbalizer: Verbalizer, masks: int) -> None:
    head, hidden = new(verbalizer), hidden_states(masks)
    torch.testing.assert_close(head(Reading(hidden)), score_by_hand(head, verbalizer, hidden), atol=1e-4, rtol=1e-5)


def test_head_answers_patterns_with_different_numbers_of_masks_in_turn() -> None:
    head = new(SHORTER_WORDS)
    for masks in (2, 3, 2):
        hidden = hidden_states(masks)
        torch.testing.assert_close(
            head(Reading(hidden)), score_by_hand(head, SHORTER_WORDS, hidden), atol=1e-4, rtol=1e-5
        )


def test_permuting_the_words_of_labels_permutes_the_scores() -> None:
    head, hidden = new(ONE_WORD), hidden_states(1)
    before = head(Reading(hidden))
    for order in permutations(range(3)):
        other = PetHead(Verbalizer(tuple(ONE_WORD.ids[i] for i in order)), SHAPE)
        other.load_state_dict(head.state_dict())
        torch.testing.assert_close(other(Reading(hidden)), before[:, list(order)], atol=0, rtol=0)


def encoded_batch(backbone: Backbone, task: TaskSpec) -> tuple[Reading, Tensor, Tensor]:
    """Hidden states at the masks [B, M, H], the backbone's own logits there [B, M, V], and label words as ids."""
    batch = pad_batch(Encoder(backbone.tokenizer, task.patterns[0], 64).encode(TEXTS), backbone.pad_id)
    with torch.no_grad():
        logits = backbone.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        hidden = backbone.read(batch)
    return hidden, logits[torch.arange(len(TEXTS)).unsqueeze(1), batch.mask_positions], batch.mask_positions


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_untrained_mlm_head_says_what_the_backbone_says_at_the_mask(backbone_of: BackboneOf, family: str) -> None:
    # reference: logits of transformers' masked LM
    backbone = backbone_of(family)
    task = task_from_options(["{text} It was {mask}."], ["pos=great", "neg=bad", "mid=fine"])
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    words = [ids[0][0] for ids in verbalizer.ids]
    hidden, logits, _ = encoded_batch(backbone, task)
    head = new_head(backbone, verbalizer, HeadChoice("mlm"), seed=0)
    torch.testing.assert_close(head(hidden), logits[:, 0, words], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_untrained_mlm_head_adds_the_backbones_logits_over_the_masks(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    task = task_from_options(["{text} It was {mask} {mask}."], ["pos=great news", "neg=bad price"])
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    hidden, logits, _ = encoded_batch(backbone, task)
    expected = [logits[:, 0, ids[0][0]] + logits[:, 1, ids[0][1]] for ids in verbalizer.ids]
    head = new_head(backbone, verbalizer, HeadChoice("mlm"), seed=0)
    torch.testing.assert_close(head(hidden), torch.stack(expected, dim=1), atol=1e-5, rtol=0)


def test_mlm_head_is_a_copy_and_leaves_the_backbone_alone(bert: Backbone) -> None:
    source = read_mlm_head(bert.model)
    before = source.decoder_weight.clone()
    head = new_head(bert, ONE_WORD, HeadChoice("mlm"), seed=0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(7.0)
    assert torch.equal(source.decoder_weight, before)


def test_mlm_head_trains_rows_and_bias_alone(bert: Backbone) -> None:
    head = new_head(bert, ONE_WORD, HeadChoice("mlm"), seed=0)
    trained = {name for name, parameter in head.named_parameters() if parameter.requires_grad}
    assert trained == {"rows.weight", "rows.bias"} == set(part_parameters(head, HeadChoice("mlm").parts))


def test_random_head_has_the_papers_number_of_parameters(bert: Backbone) -> None:
    # PETapter (arXiv 2412.04975): Linear(H, H), LayerNorm(H), Linear(H, T) with T distinct verbalizer tokens
    head = new_head(bert, TWO_MASKS, HeadChoice("random"), seed=0)
    rows = 3
    expected = HIDDEN * HIDDEN + HIDDEN + 2 * HIDDEN + rows * HIDDEN + rows
    assert sum(parameter.numel() for parameter in head.parameters() if parameter.requires_grad) == expected


def test_random_head_starts_as_in_the_paper(bert: Backbone) -> None:
    head = new_head(bert, ONE_WORD, HeadChoice("random"), seed=0)
    assert 0.015 < float(head.dense.weight.detach().std()) < 0.025
    assert not head.dense.bias.any()
    assert not head.rows.bias.any()
    assert torch.equal(head.norm.weight, torch.ones(HIDDEN))


def test_random_head_is_decided_by_its_seed(bert: Backbone) -> None:
    first, again, other = (new_head(bert, ONE_WORD, HeadChoice("random"), seed=seed).dense.weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_encoder_without_a_masked_lm_head_is_refused_with_the_remedy(backbone_of: BackboneOf) -> None:
    with pytest.raises(BackboneError, match="without a masked-LM head: use --head random"):
        new_head(backbone_of("encoder"), ONE_WORD, HeadChoice("mlm"), seed=0)


def test_random_head_works_on_an_encoder_without_a_masked_lm_head(backbone_of: BackboneOf) -> None:
    head = new_head(backbone_of("encoder"), ONE_WORD, HeadChoice("random"), seed=0)
    assert head(Reading(hidden_states(1))).shape == (4, 3)


@pytest.mark.parametrize("init", ["mlm", "random"])
def test_restored_head_scores_as_the_one_that_was_stored(bert: Backbone, init: str) -> None:
    head = new_head(bert, ONE_WORD, HeadChoice(init), seed=0)
    with torch.no_grad():
        head.rows.weight.add_(1.0)
    parts = HeadChoice(init).parts
    again = restore_head(bert, ONE_WORD, head_spec(head, init, parts), 1, part_parameters(head, parts))
    assert torch.equal(again(Reading(hidden_states(1))), head(Reading(hidden_states(1))))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_label_map_adds_a_linear_score_of_mask_and_pools_to_the_words() -> None:
    shape = HeadShape(
        HIDDEN, HIDDEN, "gelu", "layer-norm", 1e-12, words=0.3, reads="both", pool_layers=(1, 2), patterns=2,
        has_labels=True,
    )  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = PetHead(SEVERAL_WORDS, shape).requires_grad_(False)
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter))
        reading = Reading(torch.randn(4, 2, HIDDEN), torch.randn(4, 2, HIDDEN))
    for pattern in (0, 1):
        for row in range(4):
            features = head.features(reading.at_masks[row])
            read = torch.cat([features.mean(dim=0), reading.pools[row, 0], reading.pools[row, 1]])  # type: ignore[index]
            expected = head.label_weight @ read + head.label_bias[pattern]
            expected = expected + 0.3 * head.word_scores(features.unsqueeze(0))[0]
            torch.testing.assert_close(head(reading, pattern)[row], expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "linear"])
@pytest.mark.parametrize("norm", ["layer-norm", "none"])
def test_random_head_restores_with_the_chosen_activation_and_norm(bert: Backbone, activation: str, norm: Norm) -> None:
    choice = HeadChoice("random", activation=activation, norm=norm)
    head = new_head(bert, ONE_WORD, choice, seed=0)
    again = restore_head(
        bert, ONE_WORD, head_spec(head, "random", choice.parts), 1, part_parameters(head, choice.parts)
    )
    reading = Reading(hidden_states(1))
    assert torch.equal(again(reading), head(reading))
    plain = torch.nn.functional.linear(reading.at_masks, head.dense.weight, head.dense.bias)
    expected = {"relu": torch.relu, "tanh": torch.tanh, "silu": torch.nn.functional.silu, "linear": lambda x: x}
    raw = expected[activation](plain)
    if norm == "layer-norm":
        raw = torch.nn.functional.layer_norm(raw, (HIDDEN,), eps=1e-12)
    torch.testing.assert_close(head.features(reading.at_masks), raw)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_head_of_every_architecture_is_restored(backbone_of: BackboneOf, family: str) -> None:
    backbone, parts = backbone_of(family), HeadChoice("mlm").parts
    head = new_head(backbone, ONE_WORD, HeadChoice("mlm"), seed=0)
    with torch.no_grad():
        head.rows.weight.add_(1.0)
    spec = head_spec(head, "mlm", parts)
    assert spec.feature_size == EMBEDDINGS.get(family)
    again = restore_head(backbone, ONE_WORD, spec, 1, part_parameters(head, parts))
    assert torch.equal(again(Reading(hidden_states(1))), head(Reading(hidden_states(1))))


def pools_alone(patterns: int = 1) -> HeadShape:
    return HeadShape(
        HIDDEN, HIDDEN, "gelu", "none", 1e-12, words=0.0, reads="mean-pool", pool_layers=(1, 2), patterns=patterns,
        has_labels=True,
    )  # fmt: skip


def test_head_of_pools_alone_has_a_label_map_and_nothing_else(bert: Backbone) -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = PetHead(ONE_WORD, pools_alone(patterns=2)).requires_grad_(False)
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter))
        reading = Reading(torch.randn(4, 1, HIDDEN), torch.randn(4, 2, HIDDEN))
    assert {name: tuple(tensor.shape) for name, tensor in head.named_parameters()} == {
        "label_weight": (3, 2 * HIDDEN),
        "label_bias": (2, 3),
    }
    spec = head_spec(head, "random", ("labels",))
    again = restore_head(bert, ONE_WORD, spec, 2, part_parameters(head, ("labels",)))
    assert reading.pools is not None
    expected = reading.pools.reshape(4, 2 * HIDDEN) @ head.label_weight.T + head.label_bias[1]
    torch.testing.assert_close(again(reading, 1), expected)


def test_label_map_of_the_mask_needs_no_rows() -> None:
    shape = replace(pools_alone(), norm="layer-norm", reads="mask", pool_layers=())
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = PetHead(ONE_WORD, shape).requires_grad_(False)
        head.label_weight.copy_(torch.randn(3, HIDDEN))
    hidden = hidden_states(2)
    assert {name.split(".")[0] for name, _ in head.named_parameters()} == {
        "dense",
        "norm",
        "label_weight",
        "label_bias",
    }
    torch.testing.assert_close(head(Reading(hidden)), head.features(hidden).mean(dim=1) @ head.label_weight.T)


@pytest.mark.parametrize("choice", [{"activation": "relu"}, {"norm": "none"}, {"norm_eps": 1e-5}])
def test_masked_lm_head_has_its_own_form(choice: dict[str, object]) -> None:
    with pytest.raises(InputError, match="choose a random head"):
        HeadChoice("mlm", **choice)  # type: ignore[arg-type]


def test_eps_of_a_random_head_is_the_chosen_one(bert: Backbone) -> None:
    assert new_head(bert, ONE_WORD, HeadChoice("random", norm_eps=0.5), seed=0).norm.eps == 0.5


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(InputError, match="'swishy' is none of gelu, relu"):
        HeadChoice("random", activation="swishy")


@pytest.mark.parametrize(
    ("trains", "names"),
    [("none", set()), ("all", {"rows.weight", "rows.bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias"})],
)
def test_chosen_parts_of_the_masked_lm_head_train(bert: Backbone, trains: Trains, names: set[str]) -> None:
    head = new_head(bert, ONE_WORD, HeadChoice("mlm", trains=trains), seed=0)
    assert {name for name, parameter in head.named_parameters() if parameter.requires_grad} == names


@pytest.mark.parametrize(
    "change",
    [{"norm_eps": 0.5}, {"activation": "relu"}, {"feature_size": MAX_FEATURES}],
    ids=str,
)
def test_stored_head_of_another_form_than_the_backbones_is_refused_unbuilt(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    head = new_head(bert, ONE_WORD, HeadChoice("mlm"), seed=0)
    tensors = part_parameters(head, ("rows", "bias"))
    spec = head_spec(head, "mlm", ("rows", "bias")).model_copy(update=change)

    def built(*_: object) -> None:
        pytest.fail("a head was made of a size that nothing vouches for")

    monkeypatch.setattr("petapter.head.PetHead", built)
    with pytest.raises(BackboneError, match="the module's head is of the form") as refusal:
        restore_head(bert, ONE_WORD, spec, 1, tensors)
    assert "\n" not in str(refusal.value)
