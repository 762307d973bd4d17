import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from petapter import Backbone, Engine, Example, TrainedModule, TrainingOptions, train
from petapter.head import HeadChoice, new_head
from petapter.task import Encoder, pad_batch, read_verbalizer, rows_digest
from petapter_schemas.errors import BackboneError, InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import FAMILIES


def state(backbone: Backbone) -> dict[str, Tensor]:
    """All parameters and buffers, also those that are not saved."""
    model = backbone.model
    return {name: value.detach().clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}


def layers(backbone: Backbone) -> list[tuple[str, str]]:
    return [(name, type(layer).__name__) for name, layer in backbone.model.named_modules()]


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def tensors(module: TrainedModule) -> dict[str, Tensor]:
    return {**module.adapter_tensors, **module.head_tensors}


def single_token(task: TaskSpec) -> TaskSpec:
    """The task with one word a label, which is one token in every family."""
    return TaskSpec.model_validate({"labels": {"pos": "great", "neg": "good"}, "patterns": list(task.patterns)})


@pytest.mark.parametrize("family", FAMILIES)
def test_backbone_is_bit_identical_and_bare_after_training(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    before, structure = state(backbone), layers(backbone)
    train(single_token(SENTIMENT), SENTIMENT_ROWS, backbone, replace(QUICK, adapter_lr=0.1, head_lr=0.1))
    assert same(state(backbone), before)
    assert layers(backbone) == structure
    assert not backbone.model.training


@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_and_head_both_move(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    module = train(single_token(SENTIMENT), SENTIMENT_ROWS, backbone, QUICK)
    later = train(single_token(SENTIMENT), SENTIMENT_ROWS, backbone, replace(QUICK, steps=5))
    ups = [tensor for name, tensor in module.adapter_tensors.items() if "lora_B" in name]
    assert all(bool(tensor.any()) for tensor in ups)  # B begins at zero
    assert not torch.equal(module.head_tensors["rows.weight"], later.head_tensors["rows.weight"])


def test_same_seed_gives_identical_tensors(bert: Backbone) -> None:
    first, second = (train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK) for _ in range(2))
    assert same(tensors(first), tensors(second))
    assert first.golden == second.golden


def test_same_seed_gives_identical_tensors_whatever_ran_before(bert: Backbone) -> None:
    first = train(TOPIC, TOPIC_ROWS, bert, replace(QUICK, head_init="random"))
    torch.rand(7)
    train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK)
    assert same(tensors(first), tensors(train(TOPIC, TOPIC_ROWS, bert, replace(QUICK, head_init="random"))))


@pytest.mark.parametrize("init", ["mlm", "random"])
def test_other_seed_gives_other_tensors(bert: Backbone, init: str) -> None:
    first, second = (
        train(SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, head_init=init, seed=seed)) for seed in (0, 1)
    )
    assert not same(first.adapter_tensors, second.adapter_tensors)
    assert not same(first.head_tensors, second.head_tensors)


@pytest.mark.parametrize("init", ["mlm", "random"])
def test_callers_random_numbers_are_left_alone(bert: Backbone, init: str) -> None:
    before = torch.get_rng_state()
    train(SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, head_init=init))
    assert torch.equal(torch.get_rng_state(), before)


def test_callback_sees_every_step_once(bert: Backbone) -> None:
    seen: list[tuple[int, int]] = []
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, on_step=lambda step, steps, _: seen.append((step, steps)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert module.training.steps == 4


def test_default_number_of_steps_is_80_and_one_per_row(bert: Backbone) -> None:
    assert train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(rank=1)).training.steps == 80 + len(SENTIMENT_ROWS)


def test_loss_falls_on_a_separable_task(bert: Backbone) -> None:
    losses: list[float] = []
    options = TrainingOptions(steps=60, batch_size=6, adapter_lr=0.01, head_lr=0.01, label_smoothing=0.0)
    train(SENTIMENT, SENTIMENT_ROWS, bert, options, on_step=lambda _, __, loss: losses.append(loss))
    assert sum(losses[-5:]) < 0.25 * sum(losses[:5])


def test_trained_module_gives_the_training_rows_their_labels(bert: Backbone) -> None:
    options = TrainingOptions(steps=60, batch_size=6, adapter_lr=0.01, head_lr=0.01)
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, options)
    with Engine(bert) as engine:
        engine.load(module, "m")
        answers = engine.predict([("m", row.fields) for row in SENTIMENT_ROWS])
    assert [answer.label for answer in answers] == [row.label for row in SENTIMENT_ROWS]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_first_loss_is_the_smoothed_cross_entropy_before_training(
    directories: dict[str, Path], tmp_path: Path, smoothing: float
) -> None:
    # reference: torch's cross-entropy of the untrained head's scores, on a backbone without dropout
    folder = shutil.copytree(directories["bert"], tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    backbone = Backbone.load(folder, device="cpu")
    losses: list[float] = []
    options = replace(QUICK, batch_size=6, label_smoothing=smoothing)
    train(SENTIMENT, SENTIMENT_ROWS, backbone, options, on_step=lambda _, __, loss: losses.append(loss))
    head = new_head(backbone, read_verbalizer(SENTIMENT, backbone.tokenizer), HeadChoice("mlm"), seed=0)
    encoded = Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode([row.fields for row in SENTIMENT_ROWS])
    logits = head(backbone.read(pad_batch(encoded, backbone.pad_id)))
    targets = torch.tensor([SENTIMENT.label_names.index(row.label) for row in SENTIMENT_ROWS])
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    assert losses[0] == pytest.approx(float(expected.detach()), abs=1e-5)


def test_dropout_acts_while_training(bert: Backbone) -> None:
    seen: list[bool] = []
    train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, on_step=lambda *_: seen.append(bert.model.training))
    assert seen == [True] * 4


def test_gradients_are_clipped(bert: Backbone) -> None:
    # Adam's steps are lr * g / (|g| + 1e-8), so gradients clipped to 1e-12 move nothing by more than lr / 10,000
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, head_lr=0.1, clip_norm=1e-12))
    ids = list(read_verbalizer(SENTIMENT, bert.tokenizer).row_token_ids)
    moved = module.head_tensors["rows.weight"] - bert.model.get_input_embeddings().weight[ids]
    assert float(moved.abs().max()) < 1e-4


def test_adapter_learning_rate_of_zero_leaves_the_adapter_without_effect(bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, adapter_lr=0.0))
    assert not any(bool(tensor.any()) for name, tensor in module.adapter_tensors.items() if "lora_B" in name)


def test_learning_rate_of_zero_leaves_the_head_where_it_began(bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, head_lr=0.0))
    ids = list(read_verbalizer(SENTIMENT, bert.tokenizer).row_token_ids)
    assert torch.equal(module.head_tensors["rows.weight"], bert.model.get_input_embeddings().weight[ids])


def test_rank_zero_trains_the_head_alone(bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, rank=0))
    assert module.adapter.kind == "none"
    assert module.adapter.parameters == 0
    assert module.adapter_config is None
    assert not module.adapter_tensors


def test_only_adapter_and_head_parts_require_gradients(bert: Backbone) -> None:
    seen: list[set[str]] = []

    def look(step: int, steps: int, loss: float) -> None:
        moving = {name for name, parameter in bert.model.named_parameters() if parameter.requires_grad}
        seen.append({name.rsplit(".", 3)[1] for name in moving})

    train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, on_step=look)
    assert seen == [{"lora_A", "lora_B"}] * 4


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_random_head_stores_all_its_parts(backbone_of: BackboneOf, family: str) -> None:
    options = replace(QUICK, head_init="random")
    module = train(single_token(SENTIMENT), SENTIMENT_ROWS, backbone_of(family), options)
    assert set(module.head.parts) == {"rows", "bias", "dense", "norm"}
    assert module.head.parameters == 32 * 32 + 32 + 2 * 32 + 2 * 32 + 2


def test_encoder_without_a_masked_lm_head_trains_with_a_random_head(backbone_of: BackboneOf) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, backbone_of("encoder"), replace(QUICK, head_init="random"))
    assert module.head.init == "random"


def test_encoder_without_a_masked_lm_head_is_refused_and_left_bare(backbone_of: BackboneOf) -> None:
    encoder = backbone_of("encoder")
    structure = layers(encoder)
    with pytest.raises(BackboneError, match="use --head random"):
        train(SENTIMENT, SENTIMENT_ROWS, encoder, replace(QUICK, head_init="mlm"))
    assert layers(encoder) == structure


def test_failure_in_the_middle_leaves_the_backbone_bare(bert: Backbone) -> None:
    before, structure = state(bert), layers(bert)

    def stop(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, on_step=stop)
    assert layers(bert) == structure
    assert same(state(bert), before)
    assert not bert.model.training
    assert not any(parameter.requires_grad for parameter in bert.model.parameters())


def test_training_works_again_after_a_failure(bert: Backbone) -> None:
    expected = train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK)

    def stop(step: int, steps: int, loss: float) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, on_step=stop)
    assert same(tensors(train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK)), tensors(expected))


def test_diverged_training_is_an_error_and_not_a_module(bert: Backbone) -> None:
    options = TrainingOptions(steps=6, batch_size=4, adapter_lr=1e30, head_lr=1e30)
    with pytest.raises(InputError, match="choose a lower learning rate"):
        train(SENTIMENT, SENTIMENT_ROWS, bert, options)


def test_patterns_with_different_numbers_of_masks_train_together(topic: TrainedModule, bert: Backbone) -> None:
    patterns = ["{mask} news: {title} {body}", "{title} {body} It was {mask} {mask}."]
    task = TaskSpec.model_validate(
        {"fields": ["title", "body"], "labels": {"sports": "sports", "world": "world"}, "patterns": patterns}
    )
    module = train(task, TOPIC_ROWS[:4], bert, QUICK)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors(module).values())


def test_facts_of_the_run_are_recorded(bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS[:5], bert, replace(QUICK, seed=7))
    facts = module.training
    assert facts.seeds == (7,)
    assert facts.examples_per_class == (3, 2)
    assert facts.rows_sha256 == rows_digest(SENTIMENT_ROWS[:5])
    assert set(facts.libraries) == {"torch", "transformers", "peft"}
    assert facts.hyperparameters["rank"] == 2
    assert facts.peak_memory_bytes > 0
    assert facts.seconds > 0


def test_order_of_rows_decides_nothing_but_the_draw(bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS[::-1], bert, QUICK)
    assert module.training.rows_sha256 == rows_digest(SENTIMENT_ROWS)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [([], "no rows"), (SENTIMENT_ROWS[:3], "all 3 rows have the label 'pos'"), (SENTIMENT_ROWS[:1], "all 1 rows")],
)
def test_rows_that_cannot_work_are_refused(bert: Backbone, rows: list[Example], complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        train(SENTIMENT, rows, bert, QUICK)


def test_row_with_a_label_that_the_task_lacks_is_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="the label 'meh', which the task lacks"):
        train(SENTIMENT, [*SENTIMENT_ROWS, Example({"text": "a"}, "meh")], bert, QUICK)


def test_error_found_by_the_checks_stops_before_anything_is_changed(bert: Backbone) -> None:
    task = TaskSpec.model_validate({"labels": {"pos": "great", "neg": "great"}, "patterns": ["{text} {mask}"]})
    with pytest.raises(TaskError, match="cannot be told apart"):
        train(task, SENTIMENT_ROWS, bert, QUICK)


def test_warnings_are_logged_without_the_texts(bert: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="petapter"):
        train(SENTIMENT, [*SENTIMENT_ROWS, SENTIMENT_ROWS[0]], bert, QUICK)
    assert [record.getMessage() for record in caplog.records] == ["1 of 7 rows repeat a text: drop them"]
