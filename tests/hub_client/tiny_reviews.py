"""A tiny task on a tiny backbone with random weights, for tests of train, evaluate and predict."""

from pathlib import Path

ROWS = [("i love this film", "good"), ("great food", "good"), ("i hate this film", "bad"), ("awful food", "bad")]
_TELLING = ("i love this film", "great food", "i hate this film", "awful food", "i love food", "i hate food")
CERTAIN = [(text, "good" if "love" in text or "great" in text else "bad") for text in _TELLING]
"""Rows that can be told by their words."""
WORDS = sorted({word for text, _ in ROWS for word in text.split()} | {"good", "bad", "it", "was", ".", "[MASK]"})
TASK = ("--pattern", "{text} it was {mask} .", "--label", "good", "--label", "bad=bad,awful")


def save_backbone(directory: Path) -> Path:
    """A word-level BERT of hidden size 16 that knows the words of the task."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokens = {f"{name}_token": token for name, token in special.items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **tokens)
    fast.save_pretrained(directory)
    shape = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertForMaskedLM(shape).save_pretrained(directory)
    return directory


def write_rows(path: Path) -> Path:
    """The rows of the task as CSV."""
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return path
