import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from peft import get_peft_model
from torch import Tensor
from transformers import RobertaConfig, RobertaForMaskedLM

from petapter import Backbone, Engine, Example, ModuleInfo, TrainedModule, open_module, save_module
from petapter.adapters import peft_config
from petapter.head import HeadChoice, HeadShape, PetHead, new_head
from petapter.task import Verbalizer, read_verbalizer, task_from_options
from petapter.training import PaperOptions, train_paper, trainer
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import BackboneMismatchError, InputError, TaskError
from petapter_schemas.manifest import read_manifest
from petapter_schemas.task import TaskSpec, TokenizationSpec
from tests.petapter.conftest import BackboneOf, StillOf
from tests.petapter.training.paper_reference import Reference, read_as_in_the_paper

TEMPLATE = "{mask} : {text}"
ROWS = [
    Example({"text": text}, label)
    for text, label in [
        ("the match was good", "sports"),
        ("all the world", "world"),
        ("goal in that game", "sports"),
        ("this is the news of the world", "world"),
        ("a team", "sports"),
    ]
]
TASK = task_from_options([TEMPLATE], ["sports=sports", "world=world"])
TWO_MASKS = task_from_options(
    ["{text} was {mask}{mask}."], ["sports=great sports", "world=great world", "money=world sports"]
)
SHORT = PaperOptions(epochs=2)


def tensors(module: TrainedModule) -> dict[str, Tensor]:
    return {**module.adapter_tensors, **module.head_tensors}


def worst(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize(("rows", "steps"), [(10, 150), (100, 1500), (5, 90), (1, 30)])
def test_thirty_epochs_of_batches_of_two(rows: int, steps: int) -> None:
    assert PaperOptions().recipe(rows).options.steps == steps


def test_optimiser_is_the_papers() -> None:
    chosen = PaperOptions().recipe(10).options
    assert (chosen.adapter_lr, chosen.head_lr, chosen.warmup, chosen.clip_norm) == (5e-5, 5e-5, 0.0, 1.0)
    assert (chosen.label_smoothing, chosen.order, chosen.batch_size) == (0.0, "shuffled", 2)


def test_adamw_has_the_papers_betas_epsilon_and_no_decay(bert: Backbone) -> None:
    head = new_head(bert, read_verbalizer(TASK, bert.tokenizer), HeadChoice("random"), seed=0)
    optimizer, _ = trainer._optimizer([], head, PaperOptions().recipe(10).options, 150)
    (group,) = optimizer.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"], group["initial_lr"]) == ((0.9, 0.999), 1e-8, 0.0, 5e-5)


def test_large_module_has_the_papers_number_of_parameters() -> None:
    # PETapter on roberta-large with LoRA and four labels: 786,432 + 1,055,748
    large = RobertaConfig(
        vocab_size=50265,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    chosen = PaperOptions().recipe(10).options
    spec = AdapterSpec(kind="lora", rank=chosen.rank, alpha=chosen.alpha, targets=("query", "value"), parameters=1)
    with torch.device("meta"):
        model = get_peft_model(RobertaForMaskedLM(large), peft_config(spec))
        four = Verbalizer((((4,),), ((5,),), ((6,),), ((7,),)))
        head = PetHead(four, HeadShape(1024, 1024, "gelu", "layer-norm", 1e-12))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 786_432
    assert sum(p.numel() for p in head.parameters()) == 1_055_748


def test_head_is_the_papers_at_its_start(bert: Backbone) -> None:
    module = train_paper(TASK, ROWS, bert, PaperOptions(epochs=1, lr=1e-30))
    head = module.head_tensors
    assert (module.head.init, module.head.activation, module.head.norm_eps) == ("random", "gelu", 1e-12)
    assert 0.018 < float(head["dense.weight"].std()) < 0.022  # N(0, 0.02), 1,024 numbers
    assert not bool(head["norm.bias"].ge(1e-6).any())
    assert torch.allclose(head["norm.weight"], torch.ones(32))
    assert float(head["dense.bias"].abs().max()) < 1e-20
    assert float(head["rows.bias"].abs().max()) < 1e-20


@pytest.mark.parametrize("kind", ["lora", "ia3", "bottleneck"])
def test_each_of_the_papers_adapters_trains(bert: Backbone, kind: Literal["lora", "ia3", "bottleneck"]) -> None:
    module = train_paper(TASK, ROWS, bert, PaperOptions(epochs=1, adapter=kind, lr=1e-2))
    start = train_paper(TASK, ROWS, bert, PaperOptions(epochs=1, adapter=kind, lr=1e-30))
    assert module.adapter.kind == kind
    assert module.training.hyperparameters["adapter"] == kind
    assert worst(dict(module.adapter_tensors), dict(start.adapter_tensors)) > 1e-3


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("lora", 2 * 2 * (8 * 32 + 32 * 8)),  # two layers, query and value, A and B
        ("ia3", 2 * (32 + 32 + 64)),  # key, value, intermediate
        ("bottleneck", 2 * (32 * 2 + 2 + 2 * 32 + 32)),  # 32 / 16 = 2 neurons
    ],
)
def test_adapters_have_the_papers_sizes(
    bert: Backbone, kind: Literal["lora", "ia3", "bottleneck"], parameters: int
) -> None:
    assert train_paper(TASK, ROWS, bert, PaperOptions(epochs=1, adapter=kind)).adapter.parameters == parameters


def test_rows_are_the_distinct_tokens_in_ascending_order(bert: Backbone) -> None:
    module = train_paper(TWO_MASKS, ROWS, bert, PaperOptions(epochs=1))
    used = {token for word in ("great sports", "great world") for token in bert.tokenizer.encode(word)[1:-1]}
    assert module.verbalizer.row_token_ids == tuple(sorted(used))
    assert module.head_tensors["rows.weight"].shape == (3, 32)


def test_seed_is_1895_times_the_run(bert: Backbone) -> None:
    assert [PaperOptions(run=run).seed for run in range(1, 6)] == [1895, 3790, 5685, 7580, 9475]
    assert train_paper(TASK, ROWS, bert, replace(SHORT, run=2)).training.seeds == (3790,)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("task", [TASK, TWO_MASKS], ids=["one mask", "two masks"])
@pytest.mark.parametrize("lr", [5e-5, 2e-3])
def test_losses_tensors_and_answers_are_those_of_a_straight_loop(
    still_directory_of: Callable[[str], Path], family: str, task: TaskSpec, lr: float
) -> None:
    directory = still_directory_of(family)
    backbone = Backbone.load(directory, device="cpu")
    losses: list[float] = []
    options = PaperOptions(run=3, epochs=3, lr=lr)
    start = train_paper(task, ROWS, backbone, replace(options, lr=1e-30))  # what was drawn: nothing moves
    module = train_paper(task, ROWS, backbone, options, on_step=lambda _, __, loss: losses.append(loss))

    masks = task.patterns[0].masks
    words = [backbone.tokenizer.encode(label.words[0], add_special_tokens=False)[:masks] for label in task.labels]
    texts = [
        read_as_in_the_paper(backbone.tokenizer, task.patterns[0].template, row.fields["text"], 64)[:2] for row in ROWS
    ]
    reference = Reference(directory, start.adapter_tensors, start.head_tensors)
    labels = [task.label_names.index(row.label) for row in ROWS]
    expected = reference.train(texts, labels, words, epochs=3, seed=3 * 1895, lr=lr)

    assert losses == pytest.approx(expected, abs=2e-4)
    first, last = tensors(start), tensors(module)
    for name, value in {**reference.adapter, **reference.head}.items():
        way = value.detach() - first[name]
        # measured: 0.0014 at most, from numbers whose gradient is nearly 0, of which Adam sees the sign alone
        assert float((last[name] - first[name] - way).norm() / way.norm()) < 0.01, name
        assert float(way.abs().max()) > lr / 10
    assert_answers(backbone, module, [reference.logits(*text, words) for text in texts])


def assert_answers(backbone: Backbone, module: TrainedModule, logits: Sequence[Tensor]) -> None:
    """The engine says of ROWS what the reference scores them, [L] each."""
    with Engine(backbone) as engine:
        engine.load(module, "m")
        for row, scores in zip(ROWS, logits, strict=True):
            (answer,) = engine.predict([("m", row.fields)])
            said = [answer.probabilities[name] for name in module.task.label_names]
            assert said == pytest.approx(torch.softmax(scores.detach(), dim=-1).tolist(), abs=1e-4)


@pytest.fixture
def draw_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[int]], None]]:
    """Makes every new head begin with its drawn rows in another order."""

    def use(order: list[int]) -> None:
        def drawn(*args: object, **options: object) -> PetHead:
            head = new_head(*args, **options)  # type: ignore[arg-type]  # passed on as they are
            with torch.no_grad():
                head.rows.weight.copy_(head.rows.weight[order])
            return head

        monkeypatch.setattr(trainer, "new_head", drawn)

    yield use
    monkeypatch.undo()


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1), (2, 1, 0)])
def test_permuting_the_words_permutes_the_rows_and_changes_nothing_else(
    still_of: StillOf, draw_rows: Callable[[list[int]], None], order: tuple[int, int, int]
) -> None:
    backbone = still_of("bert")
    words = ["sports", "world", "business"]
    rows = [*ROWS, Example({"text": "price of money"}, "business")]
    options = PaperOptions(epochs=4, lr=2e-3)

    def task(chosen: list[str]) -> TaskSpec:
        return task_from_options([TEMPLATE], [f"{label}={word}" for label, word in zip(words, chosen, strict=True)])

    permuted = [words[i] for i in order]
    ids = {word: backbone.tokenizer.convert_tokens_to_ids(word) for word in words}
    row_of = {word: sorted(ids.values()).index(ids[word]) for word in words}
    plain = train_paper(task(words), rows, backbone, options)
    # the row of a label's new word begins where the row of its old word began
    moved = {row_of[new]: row_of[old] for old, new in zip(words, permuted, strict=True)}
    draw_rows([moved[row] for row in range(3)])
    other = train_paper(task(permuted), rows, backbone, options)

    inverse = [moved[row] for row in range(3)]
    expected = tensors(plain) | {name: plain.head_tensors[name][inverse] for name in ("rows.weight", "rows.bias")}
    assert worst(tensors(other), expected) < 1e-4
    assert worst(tensors(other), tensors(plain)) > 1e-2
    before, after = (
        torch.tensor([probe.log_probabilities for probe in module.golden.probes]) for module in (plain, other)
    )
    assert torch.allclose(before, after, atol=1e-4)


def test_preset_and_every_switch_are_recorded(bert: Backbone) -> None:
    options = replace(SHORT, run=4, verbalizer_space=True)
    facts = train_paper(TASK, ROWS, bert, options).training
    assert facts.preset == "paper"
    assert asdict(options).items() <= facts.hyperparameters.items()
    assert facts.hyperparameters["adapter_rank"] == 8
    assert facts.hyperparameters["adapter_alpha"] == 16.0
    assert facts.hyperparameters["order"] == "shuffled"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (PaperOptions(), TokenizationSpec(words="bare", long_words="cut", texts="apart")),
        (PaperOptions(verbalizer_space=True), TokenizationSpec(long_words="cut", texts="apart")),
        (PaperOptions(truncate_verbalizer=False), TokenizationSpec(words="bare", texts="apart")),
        (PaperOptions(text_apart=False), TokenizationSpec(words="bare", long_words="cut")),
    ],
)
def test_each_reading_is_a_switch_of_its_own(options: PaperOptions, expected: TokenizationSpec) -> None:
    assert options.tokenization == expected


def test_saved_module_reads_words_and_texts_as_it_was_trained(backbone_of: BackboneOf, tmp_path: Path) -> None:
    backbone = backbone_of("roberta")
    trained = train_paper(TASK, ROWS, backbone, replace(SHORT, lr=1e-2))
    save_module(trained, tmp_path / "m", ModuleInfo("m"))
    opened = open_module(tmp_path / "m", backbone)
    assert opened.task.tokenization == TokenizationSpec(words="bare", long_words="cut", texts="apart")
    together = opened.task.model_copy(update={"tokenization": TokenizationSpec(words="bare")})
    answers = {}
    with Engine(backbone) as engine:
        for name, module in {"trained": trained, "opened": opened, "other": replace(opened, task=together)}.items():
            engine.load(module, name, check=name != "other")
            answers[name] = [engine.predict([(name, row.fields)])[0].probabilities["world"] for row in ROWS]
    assert answers["opened"] == answers["trained"]
    assert answers["other"] != pytest.approx(answers["trained"], abs=1e-6)


def test_manifest_made_before_tokenization_was_a_field_reads_as_petapters_own() -> None:
    stored = Path(__file__).parents[2] / "assets" / "modules" / "v1-tiny"
    assert "tokenization" not in json.loads((stored / "petapter.json").read_text(encoding="utf-8"))["task"]
    assert read_manifest(stored).task.tokenization == TokenizationSpec()


def test_module_whose_words_would_be_read_otherwise_is_refused(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("roberta")
    task = task_from_options(["{text} It was {mask}"], ["sports=sports", "world=great"])
    module = train_paper(task, ROWS, backbone, PaperOptions(epochs=1))
    spaced = module.task.model_copy(update={"tokenization": TokenizationSpec(long_words="cut", texts="apart")})
    with pytest.raises(BackboneMismatchError, match="reading of the label words"), Engine(backbone) as engine:
        engine.load(replace(module, task=spaced), "m")


def test_padding_to_512_changes_nothing_without_dropout(tmp_path: Path) -> None:
    backbone = long_backbone(tmp_path / "long")
    widths: list[int] = []
    hook = backbone.model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    options = PaperOptions(epochs=2, lr=1e-3)
    dynamic = train_paper(TASK, ROWS, backbone, options)
    narrow = max(widths[:6])
    widths.clear()
    padded = train_paper(TASK, ROWS, backbone, replace(options, pad=512))
    hook.remove()
    assert narrow < 30
    assert widths[:6] == [512] * 6
    assert worst(tensors(padded), tensors(dynamic)) < 1e-4


def long_backbone(directory: Path) -> Backbone:
    from transformers import BertConfig, BertForMaskedLM

    from tests.petapter.tiny_backbones import bert_tokenizer

    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return Backbone.load(directory, device="cpu")


def test_padding_to_512_needs_a_backbone_that_reads_it(bert: Backbone) -> None:
    with pytest.raises(InputError, match="'bert' reads 64 tokens: choose pad dynamic"):
        train_paper(TASK, ROWS, bert, PaperOptions(pad=512))


def test_dropout_of_the_model_acts(bert: Backbone, still_of: StillOf) -> None:
    with_dropout, without = (train_paper(TASK, ROWS, backbone, SHORT) for backbone in (bert, still_of("bert")))
    assert worst(tensors(with_dropout), tensors(without)) > 1e-6


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patterns": ["{text} {mask}", "{mask}: {text}"]}, "trains one pattern, but the task has 2: keep one"),
        (
            {"patterns": [{"template": "{text} {mask}", "keep": "tail"}]},
            "long texts on the right: write keep: head",
        ),
        ({"labels": {"sports": ["sports", "match"], "world": "world"}}, "one word per label, but label 'sports' has 2"),
        ({"type": "multi-label"}, "one label: make one two-label task per label"),
        (
            {"patterns": ["{mask}{mask} {text}"]},
            "has 1 of the 2 tokens that the masks .* choose a longer word",
        ),
    ],
)
def test_task_that_the_method_has_no_word_for_is_refused(
    bert: Backbone, changes: dict[str, object], complaint: str
) -> None:
    task = {"labels": {"sports": "sports", "world": "world"}, "patterns": ["{text} {mask}"]}
    with pytest.raises(TaskError, match=complaint):
        train_paper(TaskSpec.model_validate(task | changes), ROWS, bert, SHORT)


def test_long_word_is_refused_where_it_may_not_be_cut(bert: Backbone) -> None:
    task = task_from_options([TEMPLATE], ["sports=sports news", "world=world"])
    with pytest.raises(TaskError, match="'sports news' of label 'sports' is 2 tokens but the pattern has 1 mask"):
        train_paper(task, ROWS, bert, replace(SHORT, truncate_verbalizer=False))


def test_cut_words_are_named_in_a_warning(bert: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    task = task_from_options([TEMPLATE], ["sports=sports news", "world=world"])
    with caplog.at_level("WARNING", logger="petapter"):
        module = train_paper(task, ROWS, bert, SHORT)
    assert "'sports news': more tokens than masks" in caplog.text
    assert module.verbalizer.longest == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"adapter": "bitfit"},
        {"run": 0},
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"pad": 256},
    ],
)
def test_values_that_make_no_run_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        PaperOptions(**wrong)  # type: ignore[arg-type]  # one of them has no allowed type


def test_no_rows_are_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="no rows to train on"):
        train_paper(TASK, [], bert)
