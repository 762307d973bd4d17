"""The delta of preset `strong`: where it starts, what it may be, what two patterns owe each other, when it is tried."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, open_module, save_module, train
from petapter.adapters import AdapterSlots, peft_config
from petapter.task import encode_rows, pad_batch
from petapter.training import StrongOptions, delta, trial
from petapter.training.convex import ConvexHead, Evidence, fit_convex_head
from petapter.training.delta import contrast, divergence
from petapter.training.evidence import evidence_of, label_head, read_frozen
from petapter.training.trial import held_out_rows
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, BackboneOf
from tests.petapter.training.test_strong import ALWAYS, MANY_ROWS

TWO_PATTERNS = TaskSpec.model_validate(
    {**SENTIMENT.model_dump(), "patterns": [{"template": "{text} It was {mask}."}, {"template": "{mask} : {text}"}]}
)


@pytest.fixture
def helpless_convex_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The convex head knows nothing of left-out rows, so that any delta that does ships."""
    monkeypatch.setattr(trial, "convex_logits", lambda _, evidence: torch.zeros_like(evidence.words))


def test_divergence_is_the_sum_of_both_kullback_leibler_divergences() -> None:
    # reference: torch's kl_div
    first, second = torch.randn(5, 3), torch.randn(5, 3)
    p, q = torch.log_softmax(first, dim=-1), torch.log_softmax(second, dim=-1)
    expected = kl_div(p, q, reduction="batchmean", log_target=True) + kl_div(
        q, p, reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(divergence(first, second, "softmax"), expected)


def test_divergence_of_labels_of_their_own_is_that_of_each() -> None:
    # reference: the same divergence of the two outcomes of each label, spelled out
    first, second = torch.randn(5, 3), torch.randn(5, 3)
    outcomes = [torch.stack([logits.flatten(), torch.zeros(15)], dim=-1) for logits in (first, second)]
    expected = divergence(outcomes[0], outcomes[1], "softmax")
    torch.testing.assert_close(divergence(first, second, "sigmoid"), expected)


@pytest.mark.usefixtures("helpless_convex_head")
def test_patterns_that_owe_each_other_consistency_agree_more(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_TIMES", 0.0)  # the convex head owes nothing

    def disagreement(consistency: float) -> float:
        options = replace(ALWAYS, steps=40, consistency=consistency)
        module = train(TWO_PATTERNS, MANY_ROWS, bert, options)
        assert module.adapter.kind == "lora"
        with Engine(bert) as engine:
            said = []
            for pattern in range(2):
                alone = module.task.model_copy(update={"patterns": (module.task.patterns[pattern],)})
                tensors = {
                    **module.head_tensors,
                    "labels.bias": module.head_tensors["labels.bias"][pattern : pattern + 1],
                }
                engine.load(replace(module, task=alone, head_tensors=tensors, calibration=None), f"m{pattern}")
                answers = engine.predict([(f"m{pattern}", row.fields) for row in MANY_ROWS])
                said.append(torch.tensor([list(answer.probabilities.values()) for answer in answers]).log())
        return float(divergence(said[0], said[1], "softmax"))

    assert disagreement(5.0) < disagreement(0.0)


def test_consistency_means_nothing_with_one_pattern(bert: Backbone) -> None:
    first, second = (train(SENTIMENT, MANY_ROWS, bert, replace(ALWAYS, consistency=value)) for value in (0.0, 1.0))
    assert all(torch.equal(first.head_tensors[name], second.head_tensors[name]) for name in first.head_tensors)


@pytest.mark.usefixtures("helpless_convex_head")
@pytest.mark.parametrize("kind", ["ia3", "bitfit"])
def test_delta_may_be_of_another_kind(bert: Backbone, tmp_path: Path, kind: str) -> None:
    options = StrongOptions(least_rows=4, steps=40, batch_size=4, adapter_lr=0.05, kind=kind)  # type: ignore[arg-type]
    module = train(SENTIMENT, MANY_ROWS, bert, options)
    assert module.adapter.kind == kind
    save_module(module, tmp_path / "m", ModuleInfo("m"))
    assert open_module(tmp_path / "m", bert).adapter.kind == kind
    with Engine(bert) as engine:
        engine.load(tmp_path / "m", "m", check=True)


def test_delta_trains_on_a_backbone_without_words(backbone_of: BackboneOf) -> None:
    module = train(SENTIMENT, MANY_ROWS, backbone_of("encoder"), replace(ALWAYS, steps=40))
    assert module.head.words == 0.0
    assert module.training.hyperparameters["shipped"] in {"delta", "convex"}


@pytest.mark.usefixtures("helpless_convex_head")
def test_delta_says_what_it_learned_and_once_what_each_convex_head_says(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    # reference: the module whose adapter is the delta's and whose head is the delta's alone, the convex head, and the
    # one that is fitted to what the backbone says with the adapter in its place
    both = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    convex = train(SENTIMENT, MANY_ROWS, bert, replace(ALWAYS, delta="never"))
    again, offset = adapted_convex_head(bert, both)
    monkeypatch.setattr(trial, "_TIMES", 0.0)
    alone = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert alone.head.words == 1.0  # the full trust in words that it started with
    assert both.head.words == pytest.approx(1.0 + convex.head.words)
    assert all(torch.equal(both.adapter_tensors[name], tensor) for name, tensor in alone.adapter_tensors.items())
    for name, third in (("labels.weight", again), ("labels.bias", offset)):
        added = alone.head_tensors[name].float() + convex.head_tensors[name].float() + third
        torch.testing.assert_close(both.head_tensors[name].float(), added, rtol=5e-3, atol=5e-3)


def adapted_convex_head(backbone: Backbone, module: TrainedModule) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of the convex head of rows as a module's adapter makes the backbone read them."""
    head = label_head(backbone, module.verbalizer, SENTIMENT)
    slots = AdapterSlots(backbone.model)
    slots.add("a", peft_config(module.adapter))
    slots.write("a", module.adapter_tensors)
    reading = read_frozen(backbone, head, encode_rows(SENTIMENT, backbone.tokenizer, backbone.max_tokens, MANY_ROWS))
    slots.close()
    evidence = evidence_of(SENTIMENT, MANY_ROWS, reading, torch.zeros(1, 2))
    fitted = fit_convex_head(replace(evidence, words=torch.zeros_like(evidence.words)))
    weight, bias = fitted.raw(torch.zeros(1, 2), 0.0)
    return weight.float(), bias.float()


def test_delta_trains_without_dropout(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert first.adapter.kind == "lora"
    for layer in bert.model.modules():
        if isinstance(layer, torch.nn.Dropout):
            monkeypatch.setattr(layer, "p", 0.9)
    second = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert second.adapter.kind == "lora"
    assert all(torch.equal(second.adapter_tensors[name], tensor) for name, tensor in first.adapter_tensors.items())
    assert all(torch.equal(second.head_tensors[name], tensor) for name, tensor in first.head_tensors.items())


LEFT_OUT = Evidence((), torch.zeros(16, 2), torch.eye(2)[torch.tensor([0, 1] * 8)], torch.ones(16), "softmax")


def _saying(right: int, sure: float = 1.0, unsure: int = 0) -> torch.Tensor:
    """Logits [16, 2] of LEFT_OUT's rows: the first `right` rows right, and the first `unsure` of these by a hair."""
    rows = torch.arange(16).unsqueeze(1)
    said = torch.where(rows < right, LEFT_OUT.targets, -LEFT_OUT.targets)
    return sure * torch.where(rows < unsure, 0.01 * said, said).double()


def _weighed(delta: torch.Tensor, convex: torch.Tensor, evidence: Evidence = LEFT_OUT) -> trial._Weighed:
    halves = [trial._Trial(delta[part], convex[part]) for part in (slice(0, 8), slice(8, 16))]
    return trial._weighed(halves, evidence)


def test_delta_is_not_preferred_for_being_louder_than_the_convex_head() -> None:
    weighed = _weighed(_saying(13, sure=3.0), _saying(15, sure=0.3))
    assert weighed.loss > weighed.convex_loss
    assert not weighed.delta_pays


def test_delta_with_the_lower_loss_pays_also_where_it_has_fewer_rows_right() -> None:
    weighed = _weighed(_saying(13), _saying(14, unsure=14))
    assert weighed.right < weighed.convex_right
    assert weighed.loss < weighed.convex_loss
    assert weighed.delta_pays


def test_delta_with_more_rows_right_pays_also_where_its_loss_is_higher() -> None:
    weighed = _weighed(_saying(14, unsure=14), _saying(13))
    assert weighed.loss > weighed.convex_loss
    assert (weighed.right, weighed.convex_right) == (14 / 16, 13 / 16)
    assert weighed.delta_pays


def test_rows_right_are_counted_by_their_weights_and_a_little_weight_more_is_no_row() -> None:
    higher_loss, convex = _saying(14, unsure=14).roll(2, dims=0), _saying(14)  # as many rows right, not the same ones
    assert not _weighed(higher_loss, convex).delta_pays
    last_two_count = torch.ones(16)
    for weight, pays in ((1.1, False), (2.0, True)):
        last_two_count[14:] = weight
        evidence = replace(LEFT_OUT, weights=last_two_count / last_two_count.mean())
        weighed = _weighed(higher_loss, convex, evidence)
        assert weighed.right > weighed.convex_right
        assert weighed.loss > weighed.convex_loss
        assert weighed.delta_pays == pays


def test_labels_of_their_own_are_right_one_by_one() -> None:
    targets = torch.tensor([[1.0, 1.0], [1.0, 0.0]] * 8)
    evidence = Evidence((), torch.zeros(16, 2), targets, torch.ones(16), "sigmoid")
    says_both = torch.ones(16, 2).double()  # all labels of the first, one of two of the second
    weighed = _weighed(says_both, -says_both, evidence)
    assert (weighed.right, weighed.convex_right) == (3 / 4, 1 / 4)


def test_delta_whose_run_on_all_rows_goes_astray_does_not_ship(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trial.train_delta

    def astray(*given: object, **named: object) -> None:
        whole(*given, **named)  # type: ignore[arg-type]
        if len(given[4].rows) == len(MANY_ROWS):  # type: ignore[attr-defined]
            given[3].bias.data[:, 0] += 100.0  # type: ignore[attr-defined]

    assert train(SENTIMENT, MANY_ROWS, bert, ALWAYS).adapter.kind == "lora"
    monkeypatch.setattr(trial, "train_delta", astray)
    with caplog.at_level(logging.WARNING, logger="petapter"):
        module = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert module.adapter.kind == "none"
    assert "went astray" in caplog.text
    convex = train(SENTIMENT, MANY_ROWS, bert, replace(ALWAYS, delta="never"))
    assert all(torch.equal(module.head_tensors[name], tensor) for name, tensor in convex.head_tensors.items())


def test_held_out_half_has_every_label_and_no_row_twice() -> None:
    targets = torch.eye(2)[torch.tensor([0] * 8 + [1] * 8)]
    given = Evidence((torch.zeros(16, 1),), torch.zeros(16, 2), targets, torch.ones(16), "softmax")
    unseen = held_out_rows(given)
    assert len(set(unseen)) == len(unseen) == 8
    assert targets[list(unseen)].sum(dim=0).tolist() == [4, 4]


def test_no_delta_is_tried_where_its_half_of_the_rows_cannot_promise_the_error_rate(
    bert: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="petapter"):
        module = train(SENTIMENT, MANY_ROWS, bert, ALWAYS, abstain_error_rate=0.08)  # 10 of 20 rows promise 1 / 11
    assert module.adapter.kind == "none"
    assert module.calibration is not None
    assert module.calibration.abstain_error_rate == 0.08
    assert "no delta is tried" in caplog.text


def test_delta_abstains_by_the_rows_that_its_trials_did_not_see(bert: Backbone) -> None:
    module = train(SENTIMENT, MANY_ROWS, bert, ALWAYS, abstain_error_rate=0.2)
    assert module.adapter.kind == "lora"
    assert module.calibration is not None
    assert module.calibration.abstain_below is not None


@pytest.mark.parametrize("name", ["consistency", "contrast"])
def test_weights_of_losses_below_zero_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="consistency and contrast must be 0 or more"):
        StrongOptions(**{name: -0.1})


def test_contrast_is_the_supervised_contrastive_loss() -> None:
    # reference: the sums of the paper, one text after the other
    torch.manual_seed(0)
    features, labels = torch.randn(6, 5), [0, 1, 0, 1, 1, 2]
    near = torch.nn.functional.normalize(features, dim=-1).double()
    expected = []
    for i, label in enumerate(labels):
        own = [j for j in range(6) if j != i and labels[j] == label]
        among = sum(float(torch.exp(near[i] @ near[j] / 0.1)) for j in range(6) if j != i)
        if own:
            logs = [float(torch.log(torch.exp(near[i] @ near[j] / 0.1) / among)) for j in own]
            expected.append(-sum(logs) / len(logs))
    targets = torch.eye(3)[torch.tensor(labels)]
    assert float(contrast(features, targets)) == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    of_two = float(contrast(features, targets, [3, 0]))  # among all the others
    assert of_two == pytest.approx((expected[0] + expected[3]) / 2, rel=1e-5)


def test_contrast_counts_texts_of_several_labels_as_far_as_these_overlap() -> None:
    targets = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], requires_grad=True)
    loss = contrast(features, targets)
    (gradient,) = torch.autograd.grad(loss, features)
    assert bool(torch.isfinite(gradient).all())
    assert float(contrast(features.detach()[:1], targets[:1])) == 0.0
    assert float(contrast(features.detach()[1:], targets[1:])) == 0.0  # no label in common


@pytest.mark.usefixtures("helpless_convex_head")
def test_contrast_brings_texts_of_one_label_together(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_TIMES", 0.0)

    def apart(weight: float) -> float:
        module = train(SENTIMENT, MANY_ROWS, bert, replace(ALWAYS, adapter_lr=0.005, contrast=weight))
        slots = AdapterSlots(bert.model)
        slots.add("a", peft_config(module.adapter))
        slots.write("a", module.adapter_tensors)
        (windows,) = encode_rows(SENTIMENT, bert.tokenizer, bert.max_tokens, MANY_ROWS)
        with torch.no_grad():
            pools = bert.read(pad_batch(windows.encoded, bert.pad_id), (bert.layers,)).pools
        slots.close()
        assert pools is not None
        targets = torch.eye(2)[torch.tensor([int(row.label == "neg") for row in MANY_ROWS])]
        return float(contrast(pools[:, 0], targets))

    assert apart(1.0) < apart(0.0)


@pytest.mark.usefixtures("helpless_convex_head")
def test_contrast_is_with_all_rows_and_not_those_of_a_step_alone(bert: Backbone) -> None:
    without, one = (
        train(SENTIMENT, MANY_ROWS, bert, replace(ALWAYS, steps=10, batch_size=1, contrast=weight))
        for weight in (0.0, 1.0)
    )
    assert (without.adapter.kind, one.adapter.kind) == ("lora", "lora")
    assert any(not torch.equal(one.adapter_tensors[name], tensor) for name, tensor in without.adapter_tensors.items())


def test_rows_left_out_are_in_no_convex_head_of_their_trial(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(evidence: Evidence, *penalties: object) -> ConvexHead:
        sizes.append(len(evidence.targets))
        return fit_convex_head(evidence, *penalties)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "fit_convex_head", counted)
    train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert sizes == [15, 15, 15, 15, 20]  # of two trials on the frozen and the adapted backbone, and of all rows


def test_rows_left_out_are_not_in_the_contrast(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, given = trial.train_delta, list[int]()

    def compared(among: torch.Tensor, targets: torch.Tensor, places: list[int]) -> torch.Tensor:
        given.append(len(among))
        return contrast(among, targets, places)

    def counted(*args: object, **named: object) -> None:
        given.clear()
        whole(*args, **named)  # type: ignore[arg-type]
        assert set(given) == {len(args[4].rows)}  # type: ignore[attr-defined]
        seen.append(len(args[4].rows))  # type: ignore[attr-defined]

    seen: list[int] = []
    monkeypatch.setattr(delta, "contrast", compared)
    monkeypatch.setattr(trial, "train_delta", counted)
    train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert seen == [15, 15, 20]
