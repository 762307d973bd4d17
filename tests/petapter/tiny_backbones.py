"""Builds tiny random masked language models with the tokenizers of their families, as directories that load offline."""

import json
import string
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaTokenizer,
)

HIDDEN = 32
LAYERS = 2
POSITIONS = 64
FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert")

_WORDS = [
    "it",
    "was",
    "great",
    "awful",
    "bad",
    "fine",
    "good",
    "news",
    "sports",
    "world",
    "business",
    "money",
    "match",
    "goal",
    "team",
    "market",
    "team",
    "the",
    "a",
    "and",
    "of",
    "to",
    "in",
    "that",
    "this",
    "is",
    "not",
    "very",
    "really",
    "game",
    "price",
    "bank",
    "ball",
    "yes",
    "no",
    "maybe",
    "question",
    "answer",
    "topic",
    "all",
    "it's",
    "book",
    "play",
]
_CORPUS = [f"{first} {' '.join(_WORDS)} It" for first in ("great", "sports", "world", "It") for _ in range(5)]
_BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_MASK = AddedToken("<mask>", lstrip=True, rstrip=False, normalized=False, special=True)
"""As published: the mask swallows the space before it."""


def build_backbone(family: str, directory: Path, *, seed: int = 0) -> Path:
    """Write one of FAMILIES, or "encoder": BERT without its masked-LM head."""
    tokenizer = _TOKENIZERS[family]()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = _MODELS[family](len(tokenizer))
        if isinstance(model, BertForMaskedLM | DistilBertForMaskedLM | RobertaForMaskedLM):
            _spread(model)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _spread(model: PreTrainedModel) -> None:
    """Give every bias and norm a value of its own: at their initial zeros and ones, a mix-up would not show."""
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)


def bert_tokenizer() -> PreTrainedTokenizerBase:
    """WordPiece, lower case; letters make any word readable."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*_BERT_SPECIALS, *dict.fromkeys(_WORDS), *characters, *(f"##{c}" for c in characters)]
    vocab = {piece: position for position, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocab)


def roberta_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE; every byte is a token, so nothing is unknown."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=_ROBERTA_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(_CORPUS, trainer)
    state = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    return RobertaTokenizer(vocab=state["vocab"], merges=merges, mask_token=_MASK)


def xlm_roberta_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram over pieces that begin with a metaspace."""
    characters = sorted(set(string.ascii_letters + string.digits + string.punctuation) - {"▁"})
    pieces = [f"▁{word}" for word in dict.fromkeys([*_WORDS, "It"])]
    vocab = [(piece, 0.0) for piece in _ROBERTA_SPECIALS[:4]]
    vocab += [(piece, -4.0 - 0.01 * i) for i, piece in enumerate(pieces)]
    vocab += [("▁", -5.0), *((character, -9.0 - 0.01 * i) for i, character in enumerate(characters))]
    vocab.append(("<mask>", 0.0))
    return XLMRobertaTokenizer(vocab=vocab, mask_token=_MASK)


def _bert_config(vocab: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocab,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )


def _roberta_config(vocab: int) -> RobertaConfig:
    return RobertaConfig(**_roberta_sizes(vocab))


def _roberta_sizes(vocab: int) -> dict[str, int]:
    return {
        "vocab_size": vocab,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS + 2,
        "type_vocab_size": 1,
        "pad_token_id": 1,
    }


def _distilbert_config(vocab: int) -> DistilBertConfig:
    return DistilBertConfig(
        vocab_size=vocab,
        dim=HIDDEN,
        n_layers=LAYERS,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=POSITIONS,
    )


_TOKENIZERS = {
    "bert": bert_tokenizer,
    "encoder": bert_tokenizer,
    "distilbert": bert_tokenizer,
    "roberta": roberta_tokenizer,
    "xlm-roberta": xlm_roberta_tokenizer,
}
_MODELS = {
    "bert": lambda vocab: BertForMaskedLM(_bert_config(vocab)),
    "encoder": lambda vocab: BertModel(_bert_config(vocab), add_pooling_layer=False),
    "distilbert": lambda vocab: DistilBertForMaskedLM(_distilbert_config(vocab)),
    "roberta": lambda vocab: RobertaForMaskedLM(_roberta_config(vocab)),
    "xlm-roberta": lambda vocab: XLMRobertaForMaskedLM(XLMRobertaConfig(**_roberta_sizes(vocab))),
}
