"""What goes wrong in the published code of PETapter, as found by reading it: here each is refused or handled.

Every test names one defect; `train` is petapter's own preset, `train_paper` the faithful one. What the published method
lacks is tested where petapter has it:

- calibration: `test_folds.py` and `test_out_of_fold.py` here, `test_calibration.py` in `tests/petapter/evaluation/`
- priors: `test_strong.py` (of the label words, and of the labels), `test_folds.py` (`class_prior` of `plain`)
- abstention: `test_folds.py` and `test_out_of_fold.py` here, `test_abstention.py` in `tests/petapter/evaluation/`
- texts without labels: `test_strong.py` here, `test_zero_label.py` in `tests/petapter/selection/`
- choosing patterns: `test_cross_validation.py`, `test_choosing.py` and `test_frozen_ranking.py` in
  `tests/petapter/selection/`, `test_tuning.py` in `tests/petapter/tuning/`
- stopping without a development set: the fixed steps in `test_options.py`
- several labels a row and long texts: `test_labels_and_windows.py`, `test_long_texts.py`

Scripts and result files are in `tests/petapter/benchmark/test_paper_result_defects.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from petapter import (
    Backbone,
    Engine,
    Example,
    ModuleInfo,
    TrainedModule,
    TrainingOptions,
    open_module,
    save_module,
    train,
)
from petapter.adapters import AdapterChoice
from petapter.evaluation import evaluate_predictions
from petapter.head import HeadChoice, new_head
from petapter.scoring import score
from petapter.task import Encoder, lint_task, read_examples, read_task, read_verbalizer, task_from_options
from petapter.training import PaperOptions, train_paper
from petapter.training.trainer import OnStep
from petapter_schemas.errors import BackboneError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import QUICK, BackboneOf

ROWS = [
    Example({"text": text}, label)
    for text, label in [
        ("the match was good", "sports"),
        ("all the world", "world"),
        ("a team and a ball", "sports"),
        ("news of the world", "world"),
    ]
]
TEN = [
    *ROWS,
    *(
        Example({"text": text}, label)
        for text, label in [
            ("a fine game", "sports"),
            ("the topic", "world"),
            ("goal in that match", "sports"),
            ("question and answer", "world"),
            ("the team was very good", "sports"),
            ("all of that news", "world"),
        ]
    ),
]
"""As many as the smaller samples of the paper."""
TASK = task_from_options(["{text} It was {mask}."], ["sports=sports", "world=world"])
SHORT = PaperOptions(epochs=1)


def tensors(module: TrainedModule) -> dict[str, Tensor]:
    return {**module.adapter_tensors, **module.head_tensors}


def untrained(backbone: Backbone, task: TaskSpec, seed: int = 0) -> list[list[float]]:
    """What petapter's own head says of the rows before any training."""
    head = new_head(backbone, read_verbalizer(task, backbone.tokenizer), HeadChoice(init="mlm"), seed=seed)
    scores = score(backbone, head, task, [row.fields for row in ROWS], None)
    answers: list[list[float]] = scores.log_probabilities.tolist()
    return answers


# Words and patterns


def test_random_head_so_that_no_word_means_anything(bert: Backbone) -> None:
    assert train(TASK, ROWS, bert, QUICK).head.init == "mlm"
    assert untrained(bert, TASK, seed=0) == untrained(bert, TASK, seed=1)  # read from the backbone, not drawn


def test_words_of_the_labels_are_ignored(bert: Backbone) -> None:
    swapped = task_from_options(["{text} It was {mask}."], ["sports=world", "world=sports"])
    assert untrained(bert, swapped) == [row[::-1] for row in untrained(bert, TASK)]
    assert untrained(bert, swapped) != untrained(bert, TASK)


@pytest.mark.parametrize("trains", [train, train_paper])
def test_words_cut_to_the_same_first_token_collide_silently(bert: Backbone, trains: object) -> None:
    task = task_from_options(["{text} {mask}"], ["sports=good game", "world=good news"])
    expected = "same tokens" if trains is train_paper else "2 tokens but the pattern has 1 mask: add a mask"
    with pytest.raises(TaskError, match=expected):
        train_paper(task, ROWS, bert, SHORT) if trains is train_paper else train(task, ROWS, bert, QUICK)


def test_long_word_is_cut_without_a_word(bert: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    task = task_from_options(["{text} {mask}"], ["sports=sports news", "world=world"])
    with pytest.raises(TaskError, match="'sports news' of label 'sports' is 2 tokens but the pattern has 1 mask"):
        train(task, ROWS, bert, QUICK)
    train_paper(task, ROWS, bert, SHORT)
    assert "'sports news': more tokens than masks" in caplog.text


def test_word_shorter_than_the_masks_is_an_index_error(bert: Backbone) -> None:
    task = task_from_options(["{text} {mask}{mask}"], ["sports=sports", "world=world news"])
    with pytest.raises(TaskError, match="'sports' of label 'sports' has 1 of the 2 tokens"):
        train_paper(task, ROWS, bert, SHORT)
    assert train(task, ROWS, bert, QUICK).verbalizer.longest == 2


def test_one_word_per_label_is_all_there_is(bert: Backbone) -> None:
    task = task_from_options(["{text} {mask}"], ["sports=sports,match,game", "world=world,news"])
    assert [len(words) for words in train(task, ROWS, bert, QUICK).verbalizer.ids] == [3, 2]


def test_no_space_before_byte_level_words_and_texts(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    (word,) = read_verbalizer(TASK, tokenizer).ids[0]
    assert tokenizer.convert_ids_to_tokens(list(word)) == ["\u0120sports"]
    task = task_from_options(["It was {mask} : {text}"], ["sports", "world"])
    (text,) = Encoder(tokenizer, task.patterns[0], 64).encode([{"text": "great"}])
    assert "\u0120great" in tokenizer.convert_ids_to_tokens(list(text.input_ids))


def test_patterns_are_tried_but_never_combined(bert: Backbone) -> None:
    patterns = ["{text} It was {mask}.", "{mask} news: {text}"]
    labels = ["sports=sports", "world=world"]
    together = torch.tensor(untrained(bert, task_from_options(patterns, labels)))
    alone = [torch.tensor(untrained(bert, task_from_options([pattern], labels))) for pattern in patterns]
    assert torch.allclose(together, torch.log_softmax((alone[0] + alone[1]) / 2, dim=-1), atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


@pytest.mark.parametrize("trains", ["plain", "paper"])
def test_separator_of_another_tokenizer_is_read_as_ordinary_text(bert: Backbone, trains: str) -> None:
    task = task_from_options(["{text} </s> It was {mask}."], ["sports=sports", "world=world"])
    with pytest.raises(TaskError, match="'</s>', which this tokenizer reads as ordinary characters: its separator"):
        train(task, ROWS, bert, QUICK) if trains == "plain" else train_paper(task, ROWS, bert, SHORT)


def test_own_separator_is_a_separator(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    task = task_from_options(["{text} </s> It was {mask}."], ["sports", "world"])
    (item,) = Encoder(tokenizer, task.patterns[0], 64).encode([{"text": "great"}])
    assert item.input_ids.count(tokenizer.sep_token_id) == 2  # the pattern's, and the one at the end


# Data


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan", "N/A", "true", "1.0"])
def test_text_or_label_that_looks_like_nothing_becomes_nan(tmp_path: Path, word: str) -> None:
    (tmp_path / "train.csv").write_text(f"text,label\n{word},sports\nthe news,{word}\n", encoding="utf-8")
    task = task_from_options(["{text} {mask}"], ["sports=sports", f"{word}=world"])
    rows = read_examples(tmp_path / "train.csv", task)
    assert [(row.fields["text"], row.label) for row in rows] == [(word, "sports"), ("the news", word)]


@pytest.mark.parametrize("label", ["NO", "Yes", "off", "null", "1"])
def test_label_in_yaml_becomes_false(tmp_path: Path, label: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f"labels: {{{label}: {label}, other: other}}\npatterns: ['{{text}} {{mask}}']\n", encoding="utf-8")
    task = read_task(path)
    assert task.label_names == (label, "other")
    assert task.labels[0].words == (label,)


@pytest.mark.parametrize("trains", ["plain", "paper"])
@pytest.mark.parametrize("turned", [False, True])
def test_labels_come_from_the_test_file(bert: Backbone, trains: str, turned: bool) -> None:
    # the task's order is neither that in which rows name the labels, nor the alphabet, nor that of their frequency
    task = task_from_options(["{text} It was {mask}."], ["world=world", "sports=sports", "money=business"])
    rows = [*ROWS, Example({"text": "a fine goal"}, "sports"), Example({"text": "price of money"}, "money")]
    rows = rows[::-1] if turned else rows
    module = train(task, rows, bert, QUICK) if trains == "plain" else train_paper(task, rows, bert, SHORT)
    assert module.task.label_names == ("world", "sports", "money")
    assert module.training.examples_per_class == (2, 3, 1)
    world, sports, money = (bert.tokenizer.convert_tokens_to_ids(word) for word in ("world", "sports", "business"))
    assert module.verbalizer.ids == (((world,),), ((sports,),), ((money,),))


@pytest.mark.parametrize("trains", ["plain", "paper"])
def test_test_file_that_lacks_a_class_breaks_the_run(bert: Backbone, tmp_path: Path, trains: str) -> None:
    fitted = PaperOptions(lr=3e-3)
    module = train(TASK, TEN, bert, TrainingOptions()) if trains == "plain" else train_paper(TASK, TEN, bert, fitted)
    path = tmp_path / "test.csv"  # its labels are sports alone, the third by mistake
    path.write_text("text,label\nthe match was good,sports\na team and a ball,sports\nnews of the world,sports\n")
    held_out = read_examples(path, TASK)
    with Engine(bert) as engine:
        engine.load(module, "m")
        found = engine.predict([("m", row.fields) for row in held_out])
    answers = [str(answer.label) for answer in found]
    assert answers == ["sports", "sports", "world"]  # as trained: the label that the file lacks is still given
    assert all(list(answer.probabilities) == ["sports", "world"] for answer in found)
    accuracy, macro_f1 = evaluate_predictions(answers, held_out, name="held out", split="test", seeds=(0,))
    assert accuracy.value == pytest.approx(2 / 3)
    assert macro_f1.value == pytest.approx((0.8 + 0.0) / 2)  # by hand: sports 2 * 1 * 2/3 / (5/3), world has no row


@pytest.mark.parametrize("trains", ["plain", "paper"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_mask_spelled_in_a_text_shifts_the_masks(backbone_of: BackboneOf, family: str, trains: str) -> None:
    backbone = backbone_of(family)
    mask = str(backbone.tokenizer.mask_token)
    rows = [*ROWS, Example({"text": f"{mask} is a {mask}{mask} game"}, "sports")]
    module = train(TASK, rows, backbone, QUICK) if trains == "plain" else train_paper(TASK, rows, backbone, SHORT)
    encoder = Encoder(backbone.tokenizer, TASK.patterns[0], 64, module.task.tokenization)
    for item in encoder.encode([row.fields for row in rows]):
        found = [i for i, token in enumerate(item.input_ids) if token == backbone.tokenizer.mask_token_id]
        assert found == list(item.mask_positions)


@pytest.mark.parametrize("trains", ["plain", "paper"])
def test_text_is_cut_without_a_word(bert: Backbone, trains: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*ROWS, Example({"text": "game " * 70}, "sports")]
    train(TASK, rows, bert, QUICK) if trains == "plain" else train_paper(TASK, rows, bert, SHORT)
    assert "1 of 5 texts are longer than 64 tokens" in caplog.text


def test_only_one_text_field_can_be_read(bert: Backbone) -> None:
    task = TaskSpec.model_validate(
        {
            "fields": ["before", "text"],
            "labels": {"sports": "sports", "world": "world"},
            "patterns": ["{text} [SEP] {before} It was {mask}."],
        }
    )
    rows = [Example({"before": "the news", **row.fields}, row.label) for row in ROWS]
    for module in (train(task, rows, bert, QUICK), train_paper(task, rows, bert, SHORT)):
        assert module.task.fields == ("before", "text")


# Training


def test_rows_are_padded_to_512(bert: Backbone) -> None:
    widths: list[int] = []
    hook = bert.model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    train(TASK, ROWS, bert, QUICK)
    hook.remove()
    longest = max(len(bert.tokenizer.encode(f"{row.fields['text']} It was [MASK].")) for row in ROWS)
    assert max(widths[:4]) == longest


def test_training_needs_a_gpu(bert: Backbone) -> None:
    assert bert.device.type == "cpu"
    assert "CPU" in train_paper(TASK, ROWS, bert, SHORT).training.hardware


@pytest.mark.parametrize("trains", ["plain", "paper"])
def test_run_depends_on_what_ran_before(bert: Backbone, trains: str) -> None:
    def run() -> dict[str, Tensor]:
        return tensors(train(TASK, ROWS, bert, QUICK) if trains == "plain" else train_paper(TASK, ROWS, bert, SHORT))

    first = run()
    torch.rand(5)
    train_paper(TASK, ROWS, bert, replace(SHORT, run=2))
    second = run()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_steps_at_5e_5_leave_the_module_undertrained(bert: Backbone, kind: Literal["lora", "ia3"]) -> None:
    def learned(run: Callable[[OnStep], object]) -> tuple[int, float]:
        """Steps, and by how much the loss of ten steps falls from the first to the last."""
        losses: list[float] = []
        run(lambda _, __, loss: losses.append(loss))
        return len(losses), (sum(losses[:10]) - sum(losses[-10:])) / 10

    steps, paper = learned(lambda told: train_paper(TASK, TEN, bert, PaperOptions(adapter=kind), on_step=told))
    _, faster = learned(lambda told: train_paper(TASK, TEN, bert, PaperOptions(adapter=kind, lr=1e-3), on_step=told))
    own_options = TrainingOptions(adapter=AdapterChoice(kind=kind))
    fewer, own = learned(lambda told: train(TASK, TEN, bert, own_options, on_step=told))
    assert steps == 150
    assert paper < 0.03  # of log 2 = 0.69
    assert faster > 0.1  # the same run at another rate: it is the rate
    assert fewer < steps
    assert own > 0.1


@pytest.mark.parametrize("options", [QUICK, SHORT, replace(QUICK, head_init="random")], ids=["plain", "paper", "asked"])
def test_encoder_without_a_masked_lm_head_trains_unnoticed(
    backbone_of: BackboneOf, caplog: pytest.LogCaptureFixture, options: TrainingOptions | PaperOptions
) -> None:
    module = train(TASK, ROWS, backbone_of("encoder"), options, calibrate_folds=2)
    assert module.head.init == module.training.hyperparameters["head_init"] == "random"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "encoder comes without a masked-LM head: the head begins at random, where the words of the labels mean nothing"
    ]


@pytest.mark.parametrize("chosen", [{"head_init": "mlm"}, {"head": HeadChoice("mlm", "all")}])
def test_masked_lm_head_that_is_chosen_and_not_there_is_refused(
    backbone_of: BackboneOf, chosen: dict[str, Any]
) -> None:
    with pytest.raises(BackboneError, match="without a masked-LM head: use --head random"):
        train(TASK, ROWS, backbone_of("encoder"), replace(QUICK, **chosen))


def test_random_head_of_the_paper_is_no_warning_where_there_is_another(
    bert: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    train_paper(TASK, ROWS, bert, SHORT)
    assert "begins at random" not in caplog.text


# What is kept


def test_no_probabilities_are_saved(bert: Backbone) -> None:
    module = train_paper(TASK, ROWS, bert, SHORT)
    with Engine(bert) as engine:
        engine.load(module, "m")
        (answer,) = engine.predict([("m", "the match")])
    assert set(answer.probabilities) == {"sports", "world"}
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_labels_that_are_numbers_become_strings_in_another_order(bert: Backbone, tmp_path: Path) -> None:
    task = task_from_options(["{text} It was {mask}."], ["10=sports", "9=world", "1=news"])
    rows = [Example(row.fields, {"sports": "10", "world": "9"}[row.label]) for row in ROWS]
    rows.append(Example({"text": "a"}, "1"))
    module = train_paper(task, rows, bert, SHORT)
    save_module(module, tmp_path / "m", ModuleInfo("m"))
    opened = open_module(tmp_path / "m", bert)
    assert opened.task.label_names == ("10", "9", "1")
    with Engine(bert) as engine:
        engine.load(module, "before")
        engine.load(opened, "after", check=True)
        before, after = engine.predict([("before", "the match"), ("after", "the match")])
    assert before.probabilities == after.probabilities


def test_head_is_patched_by_hand_after_loading(bert: Backbone, tmp_path: Path) -> None:
    module = train_paper(TASK, ROWS, bert, SHORT)
    save_module(module, tmp_path / "m", ModuleInfo("m"))
    opened = tensors(open_module(tmp_path / "m", bert))
    assert opened.keys() == tensors(module).keys()
    assert all(torch.equal(opened[name], value) for name, value in tensors(module).items())


def test_weights_are_pickles(bert: Backbone, tmp_path: Path) -> None:
    save_module(train_paper(TASK, ROWS, bert, SHORT), tmp_path / "m", ModuleInfo("m"))
    kinds = {path.suffix for path in (tmp_path / "m").iterdir()}
    assert kinds == {".safetensors", ".json", ".md"}


def test_words_are_not_checked_before_training(bert: Backbone) -> None:
    task = task_from_options(["{text} {mask}"], ["sports=\u4e2d", "world=world"])
    findings = [item.message for item in lint_task(task, bert.tokenizer, 64) if item.severity == "error"]
    assert findings == ["word '\u4e2d' of label 'sports' is unknown to the tokenizer: choose another"]
