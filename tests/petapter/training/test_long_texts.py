"""How long texts are kept, chosen on labelled rows of which only one place tells the label."""

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Example, train
from petapter.head import PetHead
from petapter.task import EncodedText, Windows, read_verbalizer
from petapter.training import StrongOptions, evidence, long_texts
from petapter.training.convex import convex_logits, fit_convex_head
from petapter.training.evidence import TextReading, evidence_of, label_head, row_weights, targets_of, words_prior
from petapter.training.long_texts import KeepChoice, Way, choose_keep
from petapter.training.strong import train_strong
from petapter_schemas.errors import TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf

KEEPS = ("head", "tail", "head+tail", "windows")
CONVEX = StrongOptions(delta="never")
TELLING = {"pos": "good great fine", "neg": "bad awful not"}
FILLING = ("the", "a", "of", "to", "in", "that", "this", "is")
LENGTH = 180
"""Words, each one token; 58 fit beside the pattern."""


def long_text(label: str, start: int, stop: int, seed: int) -> str:
    """Filling words, but for those from start to stop, which tell the label."""
    draw = random.Random(seed)  # noqa: S311 (of a test)
    words = [draw.choice(FILLING) for _ in range(LENGTH)]
    words[start:stop] = [draw.choice(TELLING[label].split()) for _ in range(stop - start)]
    return " ".join(words)


def told_at(start: int, stop: int) -> list[Example]:
    labels = ["pos", "neg"] * 8
    return [Example({"text": long_text(label, start, stop, seed)}, label) for seed, label in enumerate(labels)]


AT_START, AT_END, IN_THE_MIDDLE, EVERYWHERE = (
    told_at(*place) for place in ((0, 14), (LENGTH - 40, LENGTH), (70, 110), (0, LENGTH))
)


def keeping(keep: str, task: TaskSpec = SENTIMENT, **windows: object) -> TaskSpec:
    patterns = [
        {"template": pattern.template, "keep": keep} | ({"windows": windows} if windows else {})
        for pattern in task.patterns
    ]
    return TaskSpec.model_validate({**task.model_dump(), "patterns": patterns})


def way(choice: KeepChoice, keep: str) -> Way:
    return next(way for way in choice.ways if way.keep == keep)


def kept(task: TaskSpec) -> set[str]:
    return {pattern.keep for pattern in task.patterns}


def test_text_that_tells_at_its_end_is_not_kept_by_its_head(bert: Backbone) -> None:
    choice = choose_keep(keeping("head"), AT_END, bert)
    assert choice.keep == "tail"  # windows read the end too, but cost more
    assert kept(choice.task) == {"tail"}
    assert choice.cut_rows == 1.0


def test_text_that_tells_at_its_start_is_kept_by_its_head(bert: Backbone) -> None:
    choice = choose_keep(keeping("tail"), AT_START, bert)
    assert choice.keep == "head"
    assert way(choice, "tail").loss > 2 * way(choice, "head").loss


def test_text_that_tells_in_its_middle_is_read_in_windows(bert: Backbone) -> None:
    choice = choose_keep(keeping("head"), IN_THE_MIDDLE, bert)
    assert choice.keep == "windows"
    assert way(choice, "windows").seen == 1.0
    assert way(choice, "head").seen == pytest.approx(58 / LENGTH)


@pytest.mark.parametrize("written", KEEPS)
def test_written_way_stays_where_all_tell_the_same(bert: Backbone, written: str) -> None:
    task = keeping(written)
    choice = choose_keep(task, EVERYWHERE, bert)
    assert choice.keep == written
    assert choice.task is task


@pytest.mark.parametrize("written", KEEPS)
def test_short_texts_are_not_read_and_the_task_is_the_same(
    bert: Backbone, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(long_texts, "read_frozen", refuse)
    task = keeping(written)
    choice = choose_keep(task, SENTIMENT_ROWS, bert)
    assert choice == KeepChoice(task, written, (), 0.0, None)
    assert choice.task is task


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("family", ["bert", "encoder"])
def test_loss_of_a_way_is_that_of_a_module_trained_with_it(backbone_of: BackboneOf, family: str, keep: str) -> None:
    # reference: preset strong with the way written by hand
    backbone = backbone_of(family)
    rows = [*AT_END, *SENTIMENT_ROWS]
    choice = choose_keep(keeping("tail"), rows, backbone)
    module = train_strong(keeping(keep), rows, backbone, CONVEX)
    assert way(choice, keep).loss == pytest.approx(module.training.hyperparameters["left_out_loss"], abs=2e-4)
    assert choice.cut_rows == len(AT_END) / len(rows)


def test_chosen_task_trains_to_the_module_of_the_task_written_by_hand(bert: Backbone) -> None:
    chosen = train(choose_keep(SENTIMENT, AT_END, bert).task, AT_END, bert, CONVEX)
    by_hand = train(keeping("tail"), AT_END, bert, CONVEX)
    assert chosen.task == by_hand.task
    assert all(torch.equal(tensor, by_hand.head_tensors[name]) for name, tensor in chosen.head_tensors.items())


def test_chosen_module_tells_new_texts_by_what_it_keeps(bert: Backbone) -> None:
    module = train(choose_keep(SENTIMENT, AT_END, bert).task, AT_END, bert, CONVEX)
    new = [Example({"text": long_text(label, 140, 180, seed)}, label) for label in TELLING for seed in range(90, 94)]
    with Engine(bert) as engine:
        engine.load(module, "m")
        assert [answer.label for answer in engine.predict([("m", row.fields) for row in new])] == [
            row.label for row in new
        ]


def test_windows_are_validated_as_a_module_scores_them(bert: Backbone) -> None:
    # reference: scores of the windows, averaged by the engine; here the convex head reads the averaged windows
    choice = choose_keep(keeping("windows"), IN_THE_MIDDLE, bert)
    assert choice.reading is not None
    head = label_head(bert, read_verbalizer(SENTIMENT, bert.tokenizer), SENTIMENT)
    weights = row_weights(SENTIMENT, IN_THE_MIDDLE, targets_of(SENTIMENT, IN_THE_MIDDLE))
    prior = words_prior(head, bert, SENTIMENT, (choice.reading.words, weights))
    evidence = evidence_of(SENTIMENT, IN_THE_MIDDLE, choice.reading, prior)
    logits = convex_logits(fit_convex_head(evidence), evidence)
    module = replace(train(choice.task, IN_THE_MIDDLE, bert, CONVEX), calibration=None)
    with Engine(bert) as engine:
        engine.load(module, "m")
        answers = engine.predict([("m", row.fields) for row in IN_THE_MIDDLE])
    found = torch.tensor([[answer.probabilities[name] for name in ("pos", "neg")] for answer in answers]).double()
    expected = torch.softmax(logits, dim=-1)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)  # a module holds its head in float16


def test_what_ways_have_in_common_is_read_once(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[EncodedText] = []
    read_frozen = long_texts.read_frozen

    def watched(backbone: Backbone, head: PetHead, encoded: Sequence[Windows]) -> TextReading:
        read.extend(item for windows in encoded for item in windows.encoded)
        return read_frozen(backbone, head, encoded)

    monkeypatch.setattr(long_texts, "read_frozen", watched)
    choose_keep(SENTIMENT, [AT_END[0], *SENTIMENT_ROWS], bert)
    # six windows from 0, 29, 58, 87, 116 and 122, the ends of which are head and tail, and both ends together
    assert len(read) == len(set(read)) == 6 + 1 + len(SENTIMENT_ROWS)


def test_labels_that_stand_together_are_chosen_for_too(bert: Backbone) -> None:
    topics = TaskSpec.model_validate(
        {
            "type": "multi-label",
            "labels": {"money": "money", "sports": "sports"},
            "patterns": ["{text} It was {mask}."],
        }
    )
    words = {(): "yes", ("money",): "bank", ("sports",): "ball", ("money", "sports"): "bank ball"}
    rows = [
        Example({"text": f"{'the of a ' * (50 + i)}{' '.join([word] * 20)}"}, labels=labels)
        for i in range(4)
        for labels, word in words.items()
    ]
    choice = choose_keep(topics, rows, bert)
    assert choice.keep in {"tail", "head+tail"}
    module = train_strong(choice.task, rows, bert, CONVEX)
    expected = module.training.hyperparameters["left_out_loss"]
    assert way(choice, choice.keep).loss == pytest.approx(expected, abs=2e-4)


TWO_FIELDS = TaskSpec.model_validate(
    {
        "fields": ["title", "body"],
        "labels": {"pos": "great", "neg": "bad"},
        "patterns": [
            {"template": "{title} {body} It was {mask}.", "keep": "tail"},
            "{mask} news: {body} {title}",
        ],
    }
)


def two_fields(start: int, stop: int) -> list[Example]:
    return [
        replace(row, fields={"title": row.fields["text"], "body": long_text(row.label, start, stop, 50 + seed)})
        for seed, row in enumerate(told_at(start, stop))
    ]


def test_patterns_with_ways_of_their_own_get_one_way_where_it_is_better(bert: Backbone) -> None:
    choice = choose_keep(TWO_FIELDS, two_fields(70, 110), bert)
    assert [way.keep for way in choice.ways] == ["as written", *KEEPS]
    assert kept(choice.task) == {"windows"}


def test_patterns_keep_their_own_ways_where_no_single_one_is_better(bert: Backbone) -> None:
    choice = choose_keep(TWO_FIELDS, two_fields(0, LENGTH), bert)
    assert choice.keep == "as written"
    assert choice.task is TWO_FIELDS


def test_text_that_is_cut_in_one_pattern_alone_is_a_long_text(bert: Backbone) -> None:
    two = TaskSpec.model_validate(
        {
            "labels": {"pos": "great", "neg": "bad"},
            "patterns": ["{text} {mask}", "{text} the the the the the the the the it was {mask}"],
        }
    )
    rows = [Example({"text": " ".join(["good"] * 58)}, "pos"), Example({"text": "bad"}, "neg")]
    choice = choose_keep(two, rows, bert)
    assert choice.cut_rows == 0.5
    # 59 tokens in each of two patterns, of which the second has room for 51
    assert way(choice, "head").seen == pytest.approx(1 - (58 - 51) / 118)


def test_windows_are_read_as_the_task_writes_them(bert: Backbone) -> None:
    task = keeping("windows", stride=1.0, at_most=3)
    choice = choose_keep(task, AT_END, bert)
    assert way(choice, "windows").seen == pytest.approx(3 * 58 / LENGTH)
    mixed = task.model_copy(update={"patterns": (*task.patterns, *keeping("head").patterns)})
    choice = choose_keep(mixed, IN_THE_MIDDLE, bert)
    specs = [pattern.windowing for pattern in long_texts.keeping(mixed, "windows").patterns]
    assert [spec and spec.at_most for spec in specs] == [3, 16]
    assert kept(choice.task) <= {"windows", "head"}


def test_highest_score_of_windows_is_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="write pool: mean"):
        choose_keep(keeping("windows", pool="max"), AT_END, bert)
    with pytest.raises(
        TaskError, match="preset 'strong' measures their mean: write pool: mean, or take preset 'plain'"
    ):
        train(keeping("windows", pool="max"), AT_END, bert, CONVEX)


def test_rows_that_were_read_to_choose_are_not_read_again(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counting(backbone: Backbone, head: PetHead, encoded: Sequence[Windows]) -> TextReading:
        read.append(sum(len(windows.text_tokens) for windows in encoded))
        return evidence_read(backbone, head, encoded)

    evidence_read = evidence.read_frozen
    monkeypatch.setattr(evidence, "read_frozen", counting)
    module = train(SENTIMENT, AT_END, bert, replace(CONVEX, keep="chosen"))
    assert module.training.hyperparameters["kept"] == "tail"
    assert max(read) < len(AT_END)  # null texts alone


def test_encoder_without_a_masked_lm_head_says_so_once(
    backbone_of: BackboneOf, caplog: pytest.LogCaptureFixture
) -> None:
    train(SENTIMENT, AT_END, backbone_of("encoder"), replace(CONVEX, keep="chosen"))
    assert caplog.text.count("comes without a masked-LM head") == 1


def test_rows_that_cannot_be_trained_on_are_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="all 8 rows have the label 'pos'"):
        choose_keep(SENTIMENT, [row for row in AT_END if row.label == "pos"], bert)


def test_losses_of_all_ways_are_logged(bert: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="petapter.training.long_texts"):
        choose_keep(SENTIMENT, AT_END, bert)
    assert "head " in caplog.text
    assert caplog.text.rstrip().endswith("kept: tail")


def losses_of(**gains: tuple[float, float]) -> dict[str, torch.Tensor]:
    """Losses of four rows by way, from its gain over a loss of 1 and the standard error of that.

    Four numbers of which two lie d above and two d below their mean have the standard error d / sqrt(3).
    """
    sides = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    return {keep: 1 - gain - error * 3**0.5 * sides for keep, (gain, error) in gains.items()}


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [
        ({"head": (0, 0), "tail": (0.09, 0.1)}, "head"),  # the gain is below one error
        ({"head": (0, 0), "tail": (0.11, 0.1)}, "tail"),
        ({"head": (0, 0), "windows": (-0.2, 0.1)}, "head"),
        ({"windows": (0, 0), "head": (0.02, 0.05)}, "windows"),  # it is written
        # windows gain 0.01 over the tail with an error of 0.02: they are not worth their cost
        ({"head": (0, 0), "tail": (0.2, 0.05), "windows": (0.21, 0.07)}, "tail"),
        # and here 0.1 with an error of 0.02
        ({"head": (0, 0), "tail": (0.2, 0.05), "windows": (0.3, 0.07)}, "windows"),
        # the tail is as good as the windows but for one error, and yet does not beat what is written
        ({"head": (0, 0), "tail": (0.03, 0.04), "windows": (0.1, 0.06)}, "windows"),
        ({"head+tail": (0, 0), "head": (0.2, 0.1), "tail": (0.21, 0.1)}, "tail"),  # they cost the same
    ],
)
def test_more_than_noise_must_speak_for_another_or_a_dearer_way(
    gains: dict[str, tuple[float, float]], chosen: str
) -> None:
    assert long_texts._preferred(losses_of(**gains)) == chosen


def test_gain_has_the_standard_error_of_its_paired_differences() -> None:
    # reference: the differences are 0.1, 0.3, 0.5, so their mean is 0.3 and its error 0.2 / sqrt(3)
    head, tail = torch.tensor([1.1, 2.3, 3.5]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    encoded = [Windows((), (), (10,), (4,)), Windows((), (), (10,), (0,))]
    found = long_texts._way("tail", tail, head, encoded)
    assert (found.loss, found.gain, found.error) == pytest.approx((2.0, 0.3, 0.2 / 3**0.5))
    assert found.seen == pytest.approx(0.8)
