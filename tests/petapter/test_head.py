from itertools import permutations

import pytest
import torch
from torch import Tensor

from petapter import Backbone
from petapter.head import PetHead, new_head, part_parameters, read_mlm_head, restore_head, trained_parts
from petapter.task import Encoder, Verbalizer, pad_batch, read_verbalizer, task_from_options
from petapter_schemas.errors import BackboneError
from petapter_schemas.manifest import HeadSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import FAMILIES, HIDDEN

TEXTS = [{"text": "the match was good"}, {"text": "no"}, {"text": "all the world is in this market"}]
ONE_WORD = Verbalizer((((5,),), ((9,),), ((7,),)))
SEVERAL_WORDS = Verbalizer((((5,), (9,)), ((7,),)))
TWO_MASKS = Verbalizer((((5, 9),), ((9, 5),), ((5, 7),)))
SHORTER_WORDS = Verbalizer((((5, 9), (7,)), ((4,),)))


def new(verbalizer: Verbalizer) -> PetHead:
    """A head with random values in every part."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = PetHead(verbalizer, HIDDEN, "gelu", 1e-12)
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
    torch.testing.assert_close(head(hidden), score_by_hand(head, verbalizer, hidden), atol=1e-4, rtol=1e-5)


def test_head_answers_patterns_with_different_numbers_of_masks_in_turn() -> None:
    head = new(SHORTER_WORDS)
    for masks in (2, 3, 2):
        hidden = hidden_states(masks)
        torch.testing.assert_close(head(hidden), score_by_hand(head, SHORTER_WORDS, hidden), atol=1e-4, rtol=1e-5)


def test_permuting_the_words_of_labels_permutes_the_scores() -> None:
    head, hidden = new(ONE_WORD), hidden_states(1)
    before = head(hidden)
    for order in permutations(range(3)):
        other = PetHead(Verbalizer(tuple(ONE_WORD.ids[i] for i in order)), HIDDEN, "gelu", 1e-12)
        other.load_state_dict(head.state_dict())
        torch.testing.assert_close(other(hidden), before[:, list(order)], atol=0, rtol=0)


def encoded_batch(backbone: Backbone, task: TaskSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states at the masks [B, M, H], the backbone's own logits there [B, M, V], and label words as ids."""
    batch = pad_batch(Encoder(backbone.tokenizer, task.patterns[0], 64).encode(TEXTS), backbone.pad_id)
    with torch.no_grad():
        logits = backbone.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        hidden = backbone.hidden_at_masks(batch)
    return hidden, logits[torch.arange(len(TEXTS)).unsqueeze(1), batch.mask_positions], batch.mask_positions


@pytest.mark.parametrize("family", FAMILIES)
def test_untrained_mlm_head_says_what_the_backbone_says_at_the_mask(backbone_of: BackboneOf, family: str) -> None:
    # reference: logits of transformers' masked LM
    backbone = backbone_of(family)
    task = task_from_options(["{text} It was {mask}."], ["pos=great", "neg=bad", "mid=fine"])
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    words = [ids[0][0] for ids in verbalizer.ids]
    hidden, logits, _ = encoded_batch(backbone, task)
    head = new_head(backbone, verbalizer, "mlm", seed=0)
    torch.testing.assert_close(head(hidden), logits[:, 0, words], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_untrained_mlm_head_adds_the_backbones_logits_over_the_masks(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    task = task_from_options(["{text} It was {mask} {mask}."], ["pos=great news", "neg=bad price"])
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    hidden, logits, _ = encoded_batch(backbone, task)
    expected = [logits[:, 0, ids[0][0]] + logits[:, 1, ids[0][1]] for ids in verbalizer.ids]
    head = new_head(backbone, verbalizer, "mlm", seed=0)
    torch.testing.assert_close(head(hidden), torch.stack(expected, dim=1), atol=1e-5, rtol=0)


def test_mlm_head_is_a_copy_and_leaves_the_backbone_alone(bert: Backbone) -> None:
    source = read_mlm_head(bert.model)
    before = source.decoder_weight.clone()
    head = new_head(bert, ONE_WORD, "mlm", seed=0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(7.0)
    assert torch.equal(source.decoder_weight, before)


def test_mlm_head_trains_rows_and_bias_alone(bert: Backbone) -> None:
    head = new_head(bert, ONE_WORD, "mlm", seed=0)
    trained = {name for name, parameter in head.named_parameters() if parameter.requires_grad}
    assert trained == {"rows.weight", "rows.bias"} == set(part_parameters(head, trained_parts("mlm")))


def test_random_head_has_the_papers_number_of_parameters(bert: Backbone) -> None:
    # PETapter (arXiv 2412.04975): Linear(H, H), LayerNorm(H), Linear(H, T) with T distinct verbalizer tokens
    head = new_head(bert, TWO_MASKS, "random", seed=0)
    rows = 3
    expected = HIDDEN * HIDDEN + HIDDEN + 2 * HIDDEN + rows * HIDDEN + rows
    assert sum(parameter.numel() for parameter in head.parameters() if parameter.requires_grad) == expected


def test_random_head_starts_as_in_the_paper(bert: Backbone) -> None:
    head = new_head(bert, ONE_WORD, "random", seed=0)
    assert 0.015 < float(head.dense.weight.detach().std()) < 0.025
    assert not head.dense.bias.any()
    assert not head.rows.bias.any()
    assert torch.equal(head.norm.weight, torch.ones(HIDDEN))


def test_random_head_is_decided_by_its_seed(bert: Backbone) -> None:
    first, again, other = (new_head(bert, ONE_WORD, "random", seed=seed).dense.weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_encoder_without_a_masked_lm_head_is_refused_with_the_remedy(backbone_of: BackboneOf) -> None:
    with pytest.raises(BackboneError, match="without a masked-LM head: use --head random"):
        new_head(backbone_of("encoder"), ONE_WORD, "mlm", seed=0)


def test_random_head_works_on_an_encoder_without_a_masked_lm_head(backbone_of: BackboneOf) -> None:
    head = new_head(backbone_of("encoder"), ONE_WORD, "random", seed=0)
    assert head(hidden_states(1)).shape == (4, 3)


@pytest.mark.parametrize("init", ["mlm", "random"])
def test_restored_head_scores_as_the_one_that_was_stored(bert: Backbone, init: str) -> None:
    head = new_head(bert, ONE_WORD, init, seed=0)
    with torch.no_grad():
        head.rows.weight.add_(1.0)
    parts = trained_parts(init)
    spec = HeadSpec(init=init, parts=parts, activation=head.activation_name, norm_eps=head.norm.eps, parameters=1)
    again = restore_head(bert, ONE_WORD, spec, part_parameters(head, parts))
    assert torch.equal(again(hidden_states(1)), head(hidden_states(1)))
    assert not any(parameter.requires_grad for parameter in again.parameters())
