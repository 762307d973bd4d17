"""German, Chinese and Arabic, through tokenizers that cover them and tokenizers that do not."""

import json
from collections.abc import Callable, Iterator

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer, PreTrainedTokenizerBase, RobertaTokenizer

from petapter import Example
from petapter.task import Encoder, Finding, lint_task
from petapter_schemas.task import PatternSpec, TaskSpec
from tests.petapter.tiny_backbones import bert_tokenizer, roberta_tokenizer

TokenizerOf = Callable[[str], PreTrainedTokenizerBase]

TEXTS = {
    "german": (["Ein sch\u00f6nes, gro\u00dfes Spiel", "Das \u00c4rgernis w\u00e4hrte lange"], "{text} Es war {mask}."),
    "chinese": (
        ["\u8fd9\u573a\u6bd4\u8d5b\u5f88\u597d", "\u94f6\u884c\u7684\u4ef7\u683c\u592a\u9ad8"],
        "{text}\uff0c\u5f88{mask}\u3002",
    ),
    "arabic": (
        [
            "\u0643\u0627\u0646\u062a \u0627\u0644\u0645\u0628\u0627\u0631\u0627\u0629 \u062c\u064a\u062f\u0629",
            "\u0627\u0644\u0633\u0639\u0631 \u0645\u0631\u062a\u0641\u0639 \u062c\u062f\u0627",
        ],
        "{text} \u0643\u0627\u0646 {mask}.",
    ),
}
WORDS = {
    "german": {"gut": "gut", "schlecht": "schlecht"},
    "chinese": {"\u597d": "\u597d", "\u5dee": "\u5dee"},
    "arabic": {"\u062c\u064a\u062f": "\u062c\u064a\u062f", "\u0633\u064a\u0621": "\u0633\u064a\u0621"},
}
ENGLISH = {"pos": "great", "neg": "bad"}
LANGUAGES = tuple(TEXTS)


def _sentences(language: str) -> Iterator[str]:
    texts, template = TEXTS[language]
    yield from texts
    yield from (template.format(text=text, mask=word) for text in texts for word in WORDS[language])


def word_piece(language: str) -> PreTrainedTokenizerBase:
    """Cased WordPiece whose vocabulary is the words of a language's sentences (its characters in Chinese)."""
    normalise = BertTokenizer(vocab={"[UNK]": 0}, do_lower_case=False)._tokenizer
    words = dict.fromkeys(
        word
        for sentence in _sentences(language)
        for word, _ in normalise.pre_tokenizer.pre_tokenize_str(normalise.normalizer.normalize_str(sentence))
    )
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=False)


def byte_pairs(language: str) -> PreTrainedTokenizerBase:
    """Byte-level BPE with merges learned on a language's sentences."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator([sentence for sentence in _sentences(language) for _ in range(3)], trainer)
    ranks = learned.get_vocab()
    state = json.loads(learned.to_str())["model"]
    return RobertaTokenizer(vocab=ranks, merges=[tuple(pair) for pair in state["merges"]])


def lint(tokenizer: PreTrainedTokenizerBase, language: str, words: dict[str, str]) -> list[Finding]:
    """Findings of a task with some label words for the two texts of a language."""
    template = TEXTS[language][1] if words == WORDS[language] else "{text} It was {mask}."
    task = TaskSpec.model_validate({"labels": words, "patterns": [template]})
    examples = [Example({"text": text}, name) for text, name in zip(TEXTS[language][0], words, strict=True)]
    return lint_task(task, tokenizer, 128, examples)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("build", [word_piece, byte_pairs])
def test_language_that_the_tokenizer_covers_has_no_findings(language: str, build: TokenizerOf) -> None:
    assert lint(build(language), language, WORDS[language]) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("build", [word_piece, byte_pairs])
def test_text_of_a_covered_language_comes_back_from_its_tokens(language: str, build: TokenizerOf) -> None:
    tokenizer = build(language)
    text, template = TEXTS[language][0][0], TEXTS[language][1]
    (encoded,) = Encoder(tokenizer, PatternSpec(template=template), 128).encode([{"text": text}])
    back = tokenizer.decode(list(encoded.input_ids), skip_special_tokens=True)
    blank = str.maketrans("", "", " ")
    assert back.translate(blank) == template.format(text=text, mask="").translate(blank)


@pytest.mark.parametrize("language", ["chinese", "arabic"])
def test_script_that_a_word_piece_tokenizer_does_not_know_is_an_error(language: str) -> None:
    (finding,) = lint(bert_tokenizer(), language, ENGLISH)
    assert finding == Finding(
        "error",
        "2 of 2 texts are unknown to the tokenizer in up to 100 % of their tokens: "
        "choose a backbone that covers their script",
    )


def test_a_foreign_letter_here_and_there_is_named_but_no_error() -> None:
    # one of the five tokens of the first text, comma included, is not in the vocabulary
    tokenizer = word_piece("german")
    vocab = {piece: i for i, piece in enumerate(piece for piece in tokenizer.get_vocab() if piece != "großes")}
    found = lint(BertTokenizer(vocab=vocab, do_lower_case=False), "german", WORDS["german"])
    assert [(finding.severity, "1 of 2 texts are unknown" in finding.message) for finding in found] == [
        ("warning", True)
    ]


@pytest.mark.parametrize("language", ["chinese", "arabic"])
def test_script_that_falls_to_bytes_is_a_warning(language: str) -> None:
    found = lint(roberta_tokenizer(), language, {"pos": "great", "neg": "good"})
    assert [finding.severity for finding in found] == ["warning"]
    assert "tokens per character, so the tokenizer spells their script in bytes" in found[0].message


def test_pattern_that_the_tokenizer_does_not_know_is_a_warning() -> None:
    task = TaskSpec.model_validate({"labels": ENGLISH, "patterns": ["{text}\uff0c\u5f88 {mask}"]})
    examples = [Example({"text": "a match"}, "pos"), Example({"text": "the bank"}, "neg")]
    (finding,) = lint_task(task, bert_tokenizer(), 64, examples)
    assert finding.severity == "warning"
    assert finding.message.startswith("2 words of pattern")


@pytest.mark.parametrize("language", LANGUAGES)
def test_windows_of_any_script_hold_all_tokens_between_them(language: str) -> None:
    tokenizer = byte_pairs(language)
    text, template = TEXTS[language][0][0] * 20, TEXTS[language][1]
    pattern = PatternSpec(template=template, keep="windows")
    whole = Encoder(tokenizer, pattern, 4096).encode_windows([{"text": text}])
    room = len(Encoder(tokenizer, pattern, 4096).encode([{"text": ""}])[0].input_ids) + 6
    windows = Encoder(tokenizer, pattern, room).encode_windows([{"text": text}])
    assert len(windows.encoded) > 1
    assert windows.text_tokens == whole.text_tokens
    assert {i for item in windows.encoded for i in item.input_ids} == set(whole.encoded[0].input_ids)
