"""Builds tiny random masked language models with the tokenizers of their families, as directories that load offline."""

import json
import string
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaTokenizer,
)

HIDDEN = 32
EMBEDDINGS = {"electra": 48, "electra-discriminator": 48, "albert": 20}
"""Width of the token embeddings, and so of the masked-LM head, where it is not HIDDEN; both orders are published."""
LAYERS = 2
POSITIONS = 64
FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert")
ARCHITECTURES = (*FAMILIES, "deberta-v2", "deberta-v2-new", "electra", "modernbert", "albert")
"""One of every masked-LM head that is known; "deberta-v2-new" has the head that reads the word embeddings."""
HEADLESS = ("encoder", "electra-discriminator")
"""Without a masked-LM head: plain BERT, and ELECTRA with the head of its discriminator."""

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
_DEBERTA_SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
_ALBERT_SPECIALS = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
_MASK = AddedToken("<mask>", lstrip=True, rstrip=False, normalized=False, special=True)
"""As published: the mask swallows the space before it; in ModernBERT and ALBERT too, in BERT and DeBERTa not."""
_BRACKET_MASK = AddedToken("[MASK]", lstrip=True, rstrip=False, normalized=False, special=True)


def build_backbone(family: str, directory: Path, *, seed: int = 0) -> Path:
    """Write one of ARCHITECTURES or HEADLESS, "modernbert-global" without a local window at the end, or "albert-inner".

    The layers of "albert-inner" are two each.
    """
    tokenizer = _TOKENIZERS[family]()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = _MODELS[family](len(tokenizer))
        if family not in HEADLESS:
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
    vocab, merges = _byte_pairs(_ROBERTA_SPECIALS)
    return RobertaTokenizer(vocab=vocab, merges=merges, mask_token=_MASK)


def xlm_roberta_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram over pieces that begin with a metaspace."""
    return XLMRobertaTokenizer(vocab=[*_unigrams(_ROBERTA_SPECIALS[:4]), ("<mask>", 0.0)], mask_token=_MASK)


def deberta_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram as XLM-RoBERTa's, the mask last."""
    return DebertaV2Tokenizer(vocab=[*_unigrams(_DEBERTA_SPECIALS), ("[MASK]", 0.0)])


def albert_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram, lower case."""
    return AlbertTokenizer(vocab=_unigrams(_ALBERT_SPECIALS), mask_token=_BRACKET_MASK)


def modernbert_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE with the special tokens of BERT, as transformers' general class."""
    vocab, merges = _byte_pairs(_BERT_SPECIALS)
    fresh = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    fresh.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fresh.decoder = decoders.ByteLevel()
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    fresh.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=fresh, mask_token=_BRACKET_MASK, **names)


def _unigrams(specials: list[str]) -> list[tuple[str, float]]:
    characters = sorted(set(string.ascii_letters + string.digits + string.punctuation) - {"▁"})
    pieces = [f"▁{word}" for word in dict.fromkeys([*_WORDS, "It"])]
    vocab = [(piece, 0.0) for piece in specials]
    vocab += [(piece, -4.0 - 0.01 * i) for i, piece in enumerate(pieces)]
    return [*vocab, ("▁", -5.0), *((character, -9.0 - 0.01 * i) for i, character in enumerate(characters))]


def _byte_pairs(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary and its merges."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(_CORPUS, trainer)
    state = json.loads(trained.to_str())["model"]
    return state["vocab"], [(left, right) for left, right in state["merges"]]


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


def _deberta(vocab: int, *, legacy: bool) -> PreTrainedModel:
    """Relative positions alone, as published for DeBERTa v3."""
    config = DebertaV2Config(
        **_SIZES,
        vocab_size=vocab,
        relative_attention=True,
        position_buckets=8,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        legacy=legacy,
    )
    return DebertaV2ForMaskedLM(config)


def _modernbert(vocab: int, tokens: PreTrainedTokenizerBase, *, global_attn_every_n_layers: int = 3) -> PreTrainedModel:
    """A local window of 8 tokens in the second layer, unless every layer is global."""
    config = ModernBertConfig(
        **_SIZES,
        vocab_size=vocab,
        local_attention=8,
        global_attn_every_n_layers=global_attn_every_n_layers,
        pad_token_id=tokens.pad_token_id,
        cls_token_id=tokens.cls_token_id,
        sep_token_id=tokens.sep_token_id,
        bos_token_id=tokens.cls_token_id,
        eos_token_id=tokens.sep_token_id,
    )
    return ModernBertForMaskedLM(config)


def _electra_config(vocab: int) -> ElectraConfig:
    return ElectraConfig(**_SIZES, vocab_size=vocab, embedding_size=EMBEDDINGS["electra"])


def _albert(vocab: int, *, inner: int = 1) -> PreTrainedModel:
    sizes = _SIZES | {"vocab_size": vocab, "embedding_size": EMBEDDINGS["albert"]}
    return AlbertForMaskedLM(AlbertConfig(**sizes, inner_group_num=inner))


_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
}
_TOKENIZERS = {
    "bert": bert_tokenizer,
    "encoder": bert_tokenizer,
    "electra": bert_tokenizer,
    "electra-discriminator": bert_tokenizer,
    "deberta-v2": deberta_tokenizer,
    "deberta-v2-new": deberta_tokenizer,
    "modernbert": modernbert_tokenizer,
    "modernbert-global": modernbert_tokenizer,
    "albert": albert_tokenizer,
    "albert-inner": albert_tokenizer,
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
    "deberta-v2": lambda vocab: _deberta(vocab, legacy=True),
    "deberta-v2-new": lambda vocab: _deberta(vocab, legacy=False),
    "electra": lambda vocab: ElectraForMaskedLM(_electra_config(vocab)),
    "electra-discriminator": lambda vocab: ElectraForPreTraining(_electra_config(vocab)),
    "modernbert": lambda vocab: _modernbert(vocab, modernbert_tokenizer()),
    "modernbert-global": lambda vocab: _modernbert(vocab, modernbert_tokenizer(), global_attn_every_n_layers=1),
    "albert": _albert,
    "albert-inner": lambda vocab: _albert(vocab, inner=2),
}
