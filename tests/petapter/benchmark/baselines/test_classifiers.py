from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import nn
from transformers import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

from petapter import Backbone, PaperOptions
from petapter.adapters import AdapterChoice
from petapter.benchmark.baselines import classifiers
from petapter.benchmark.baselines.classifiers import FullFinetuningOptions, StandardHeadOptions
from petapter.benchmark.baselines.models import ClassificationHead, optimise
from petapter.benchmark.baselines.options import Optimisation
from petapter.benchmark.baselines.sequences import computed, padded, plain_rows
from tests.petapter.benchmark.baselines.trials import answer, sentiment_trial
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import HIDDEN, LAYERS

LORA_OF_RANK_8 = LAYERS * 2 * 8 * (HIDDEN + HIDDEN)
IA3 = LAYERS * (HIDDEN + HIDDEN + 64)  # keys, values, and the 64 activations inside the feed-forward block
HEAD_OF_TWO_LABELS = HIDDEN * HIDDEN + HIDDEN + 2 * HIDDEN + 2


@pytest.fixture
def read_ids(bert: Backbone) -> Iterator[list[torch.Tensor]]:
    """Token ids of every batch that reaches the resident encoder."""
    seen: list[torch.Tensor] = []
    hook = bert.model.base_model.register_forward_pre_hook(
        lambda _module, _args, values: seen.append(values["input_ids"]), with_kwargs=True
    )
    yield seen
    hook.remove()


def test_with_bos_every_text_begins_with_its_special_token(bert: Backbone, read_ids: list[torch.Tensor]) -> None:
    answer("standard-head", sentiment_trial(bert), steps=1, bos=True)
    assert all(bool((ids[:, 0] == bert.tokenizer.cls_token_id).all()) for ids in read_ids)


def test_without_bos_the_head_reads_the_first_word(bert: Backbone, read_ids: list[torch.Tensor]) -> None:
    trial = sentiment_trial(bert)
    answer("standard-head", trial, steps=1, bos=False)
    seen = {int(token) for ids in read_ids for token in ids.flatten()}
    assert not seen & {bert.tokenizer.cls_token_id, bert.tokenizer.sep_token_id}
    first_words = {bert.tokenizer.convert_tokens_to_ids(text["text"].split()[0]) for text in trial.test}
    assert {int(token) for token in read_ids[-1][:, 0]} == first_words


def test_the_standard_head_takes_the_papers_steps() -> None:
    assert [StandardHeadOptions().steps_for(rows) for rows in (10, 100, 250)] == [150, 1500, 3750]


def test_stated_steps_replace_epochs(bert: Backbone) -> None:
    assert FullFinetuningOptions(epochs=3, batch_size=8).steps_for(17) == 9
    assert FullFinetuningOptions(epochs=3, steps=5).steps_for(17) == 5
    assert answer("full-finetuning", sentiment_trial(bert), steps=2).steps == 2


def test_the_head_is_that_of_transformers() -> None:
    config = RobertaConfig(hidden_size=12, classifier_dropout=0.3)
    config.num_labels = 3
    reference, own = RobertaClassificationHead(config).eval(), ClassificationHead(config, 3).eval()
    own.dense.load_state_dict(reference.dense.state_dict())
    own.out.load_state_dict(reference.out_proj.state_dict())
    hidden = torch.randn(4, 7, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(own(hidden), reference(hidden))
    assert own.dropout.p == reference.dropout.p == 0.3


def test_what_is_stored_is_what_was_trained(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    encoder = sum(parameter.numel() for parameter in bert.model.base_model.parameters())
    assert answer("full-finetuning", trial, steps=1).module_bytes == 4 * (encoder + HEAD_OF_TWO_LABELS)
    assert answer("standard-head", trial, steps=1).module_bytes == 4 * (LORA_OF_RANK_8 + HEAD_OF_TWO_LABELS)
    assert answer("standard-head", trial, steps=1, adapter="none").module_bytes == 4 * HEAD_OF_TWO_LABELS


def test_the_standard_head_takes_the_papers_other_adapters(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    neurons = HIDDEN // 16
    bottleneck = LAYERS * (HIDDEN * neurons + neurons + neurons * HIDDEN + HIDDEN)
    for kind, parameters in (("ia3", IA3), ("bottleneck", bottleneck)):
        given = answer("standard-head", trial, steps=1, adapter=kind)
        assert given.module_bytes == 4 * (parameters + HEAD_OF_TWO_LABELS)


def test_the_standard_heads_adapters_begin_as_the_papers() -> None:
    # the very choices of preset paper, whose starts and places test_paper_adapters.py compares with AdapterHub's
    for kind in ("lora", "ia3", "bottleneck"):
        own = StandardHeadOptions(adapter=kind).choice()  # type: ignore[arg-type]
        assert own == PaperOptions(adapter=kind).recipe(10).options.adapter  # type: ignore[arg-type]
    after = StandardHeadOptions(adapter="ia3", ia3_place="after-activation", bos=False)
    assert after.choice() == AdapterChoice(kind="ia3")
    assert StandardHeadOptions(adapter="bottleneck", up_std=0.0).choice() == AdapterChoice(kind="bottleneck")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"adapter": "bottleneck"}, {"bottleneck": 0.02}),
        ({"adapter": "bottleneck", "up_std": 0.0}, {"bottleneck": 0.0}),
        ({"adapter": "ia3"}, {"intermediate.dense": 1.0}),
        ({"adapter": "ia3", "ia3_place": "after-activation"}, {".output.dense": 1.0}),
    ],
    ids=str,
)
def test_what_was_chosen_is_what_stands_in_the_encoder(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], expected: dict[str, float]
) -> None:
    begun: dict[str, torch.Tensor] = {}

    def look(modules: Sequence[nn.Module], *rest: object) -> int:
        begun.update({n: p.detach().clone() for n, p in modules[0].named_parameters() if p.requires_grad})
        return optimise(modules, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(classifiers, "optimise", look)
    answer("standard-head", sentiment_trial(bert), steps=1, **options)
    ((part, value),) = expected.items()
    if part == "bottleneck":
        drawn = torch.cat([p.flatten() for n, p in begun.items() if "bottleneck_up" in n and n.endswith("weight")])
        assert abs(float(drawn.std()) - value) < 5 * value / (2 * len(drawn)) ** 0.5 + 1e-12
    else:
        assert sum(part in name for name in begun) == LAYERS
        assert all(bool((vector == value).all()) for vector in begun.values())


def test_matrices_decay_and_vectors_do_not() -> None:
    layer = nn.Linear(3, 2)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    choices = Optimisation(lr=0.1, weight_decay=0.5, warmup=0.0, steps=1)
    optimise((layer,), lambda _rows: 0.0 * (layer.weight.sum() + layer.bias.sum()), 4, choices, 0)
    torch.testing.assert_close(layer.weight, weight * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias, bias)


def test_two_fields_are_the_tokenizers_pair(bert: Backbone) -> None:
    (row,) = plain_rows(bert, [{"a": "the game", "b": "was good"}], ("a", "b"), special_tokens=True)
    assert row.ids == tuple(bert.tokenizer("the game", "was good")["input_ids"])


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_a_text_cannot_spell_special_tokens(family: str, backbone_of: BackboneOf) -> None:
    backbone = backbone_of(family)
    special = backbone.tokenizer.all_special_tokens
    (row,) = plain_rows(backbone, [{"text": f"good {' '.join(special)}"}], ("text",), special_tokens=False)
    assert not set(row.ids) & (set(backbone.tokenizer.all_special_ids) - {backbone.tokenizer.unk_token_id})


def test_a_long_text_loses_its_end(bert: Backbone) -> None:
    (row,) = plain_rows(bert, [{"text": "good " + "bad " * 100}], ("text",), special_tokens=True)
    assert len(row.ids) == bert.max_tokens
    assert row.ids[1] == bert.tokenizer.convert_tokens_to_ids("good")
    assert row.ids[-1] == bert.tokenizer.sep_token_id


def test_an_empty_text_without_special_tokens_is_one_unknown_token(bert: Backbone) -> None:
    (row,) = plain_rows(bert, [{"text": " "}], ("text",), special_tokens=False)
    assert row.ids == (bert.tokenizer.unk_token_id,)


def test_rows_come_back_in_their_order_from_batches_of_like_length(bert: Backbone) -> None:
    texts = [{"text": "good " * (1 + 37 * i % 60)} for i in range(200)]  # more tokens than one batch holds
    rows = plain_rows(bert, texts, ("text",), special_tokens=True)
    sizes: list[int] = []

    def lengths(batch: object) -> torch.Tensor:
        mask: torch.Tensor = batch.attention_mask  # type: ignore[attr-defined]
        sizes.append(mask.numel())
        return mask.sum(dim=1)

    assert computed(rows, bert, lengths).tolist() == [len(row.ids) for row in rows]
    assert len(sizes) > 1
    assert max(sizes) <= 4096
    assert sum(sizes) < padded(rows, bert).input_ids.numel()
