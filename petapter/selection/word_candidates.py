"""Words of the vocabulary that may stand for a label, by what a masked language model says at the mask.

A word is a candidate for label y by the ratio of its likelihoods between the classes,

    r_y(w) = mean over rows of y of log q(w|x) - mean over other rows of log q(w|x)

with q the model's distribution over its vocabulary at the first mask, averaged over the patterns: the likelihood ratio
of PETAL (Schick, Schmid and Schütze 2020, arXiv 2010.13641), each side a mean, so that classes of any size count alike.
Ten rows make such ratios noisy, and words that merely occur in them high: only words whose row of the decoder is among
the nearest to that of the label's own words are looked at.

Each half of the rows looks for words of its own, which the other half may judge: a word is likelier in the rows that
found it, whatever it is worth. On ten rows of no test set (minilm, AG News, SST-2, SNIPS) words that were judged by all
rows lost 0.1 to 0.3 nats on other texts where these rows had promised 0.2 to 0.9.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedTokenizerBase

from petapter.mlm_head import MlmHead
from petapter.task import Verbalizer, read_verbalizer
from petapter.task.encoding import Fields
from petapter.task.verbalizer import word_ids
from petapter.training.convex import stratified_folds
from petapter_schemas.task import TaskSpec

_NEAREST = 300
"""Words of the vocabulary, by the cosine of their decoder rows to the mean of the label's own."""
_LEAST_OF_LABEL = 2
"""Rows of a label, and of others, that each half of the rows must have to find its words and to judge them."""
_LEAST_TEXTS = 2
"""Of the unlabelled texts that must hold a word, where there are such texts."""
_LEAST_LETTERS = 2
"""Of a word in letters that have upper and lower case; in other scripts one character may be a word."""
_ROWS_AT_ONCE = 32
"""Distributions over a vocabulary of a quarter of a million are a megabyte each."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class CandidateWord:
    """A word that may stand for a label.

    Attributes:
        label: Number of the label.
        token: The one token that it is.
        word: As the tokenizer writes it.
        ratio: Of its likelihoods between the classes, nats.
        nearness: Cosine of its decoder row to the mean of the label's own.
        judges: By row, whether it had no part in finding the word, [N].
    """

    label: int
    token: int
    word: str
    ratio: float
    nearness: float
    judges: Tensor


@dataclass(frozen=True)
class RowsAtMask:
    """What the masked LM says of labelled rows at the first mask.

    Attributes:
        tokens: Of which it is known, ascending; those of a whole vocabulary for all rows would fill the memory.
        said: Their log-probabilities, averaged over patterns, [N, T].
        targets: 1 where a row has a label, [N, L].
    """

    tokens: Tensor
    said: Tensor
    targets: Tensor

    def ratios(self, label: int, tokens: Sequence[int], rows: Tensor) -> Tensor:
        """The ratio r of some tokens for a label by some rows, bool [N]; nats, [T]."""
        columns = torch.searchsorted(self.tokens, torch.tensor(tokens))
        own = self.targets[:, label].bool()
        said = self.said[:, columns]  # [N, T]
        return said[own & rows].mean(dim=0) - said[~own & rows].mean(dim=0)


@dataclass(frozen=True)
class Vocabulary:
    """The words among a tokenizer's tokens.

    Attributes:
        tokenizer: The backbone's own.
        words: By token what it spells if that is letters alone, else "".
    """

    tokenizer: PreTrainedTokenizerBase
    words: tuple[str, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Vocabulary":
        """Spell out every token; special ones are no words."""
        spelled = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        special = set(tokenizer.all_special_ids)
        return cls(
            tokenizer,
            tuple("" if token in special else _letters(text) for token, text in enumerate(spelled)),
        )

    def is_whole(self, token: int, task: TaskSpec) -> bool:
        """Whether the tokenizer reads the word, where a label word stands in the task's first pattern, as this token.

        So the pieces of words are left out, whatever the tokenizer: "##ing", and a "news" that no space precedes.
        """
        if task.tokenization.words == "bare":
            return list(self.tokenizer(self.words[token], add_special_tokens=False)["input_ids"]) == [token]
        return word_ids(self.words[token], task.patterns[0], self.tokenizer) == (token,)


def occurring_words(texts: Iterable[Fields]) -> Counter[str]:
    """In how many texts each word occurs, whatever its case."""
    return Counter(
        word for text in texts for word in {word for part in text.values() for word in _WORD.findall(part.casefold())}
    )


def candidate_words(  # noqa: PLR0913 (what is known, and two limits)
    task: TaskSpec,
    first: Tensor,
    targets: Tensor,
    mlm: MlmHead,
    vocabulary: Vocabulary,
    *,
    occurring: Counter[str] | None,
    most: int,
) -> list[list[CandidateWord]]:
    """By label its candidates, those that both halves found first; each word for one label, none that a label has.

    Args:
        task: Labels with their own words.
        first: What the decoder reads at the first mask of the labelled rows, by pattern, [P, N, E].
        targets: 1 where a row has a label, [N, L].
        mlm: The decoder.
        vocabulary: Its words.
        occurring: In how many texts each word occurs; None where there are no such texts.
        most: Candidates of one label.
    """
    verbalizer = read_verbalizer(task, vocabulary.tokenizer)
    taken = {word.casefold() for label in task.labels for name in (label.name, *label.words) for word in _parts(name)}

    def may_be(token: int) -> bool:
        word = vocabulary.words[token].casefold()
        in_texts = occurring is None or occurring[word] >= _LEAST_TEXTS
        return word not in taken and in_texts and vocabulary.is_whole(token, task)

    near = [_near_tokens(label, verbalizer, mlm, vocabulary) for label in range(len(task.labels))]
    said = rows_at_mask(first, targets, mlm, sorted({token for tokens in near for token in tokens}))
    found: list[list[CandidateWord]] = []
    for label, own in enumerate(near):
        nearness = {token: cosine for token, cosine in own.items() if may_be(token)}
        tokens = list({vocabulary.words[token].casefold(): token for token in reversed(nearness)}.values())
        chosen = [
            CandidateWord(label, token, vocabulary.words[token], ratio, nearness[token], judges)
            for token, ratio, judges in _proposed(said, label, tokens, most)
        ]
        taken |= {each.word.casefold() for each in chosen}
        found.append(chosen)
    return found


@torch.no_grad()
def rows_at_mask(first: Tensor, targets: Tensor, mlm: MlmHead, tokens: Sequence[int]) -> RowsAtMask:
    """What the masked LM says of N rows.

    Args:
        first: What the decoder reads at the first mask, by pattern, [P, N, E].
        targets: 1 where a row has a label, [N, L].
        mlm: The decoder.
        tokens: What is to be known of, ascending.
    """
    device = mlm.decoder_weight.device
    columns = torch.tensor(tokens, dtype=torch.int64)
    said = torch.zeros(first.shape[1], len(tokens))
    for start in range(0, len(said), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        logits = first[:, part].to(device) @ mlm.decoder_weight.T + mlm.decoder_bias  # [P, B, V]
        said[part] = torch.log_softmax(logits, dim=-1)[..., columns.to(device)].mean(dim=0).cpu()
    return RowsAtMask(columns, said, targets)


def _proposed(said: RowsAtMask, label: int, tokens: Sequence[int], most: int) -> list[tuple[int, float, Tensor]]:
    """What either half of the rows finds: tokens, the highest ratio first, with it and the rows of the other half.

    What both find is judged by all rows, each half by what the other has found.
    """
    half = torch.tensor(stratified_folds(said.targets, 2)) == 0  # [N]
    own = said.targets[:, label].bool()
    if any(int(kind[part].sum()) < _LEAST_OF_LABEL for kind in (own, ~own) for part in (half, ~half)):
        return []
    ratios: dict[int, float] = {}
    judges: dict[int, Tensor] = {}
    for finders in (half, ~half):
        found = said.ratios(label, tokens, finders)
        for at in torch.argsort(found, descending=True, stable=True)[:most].tolist():
            if found[at] > 0:
                ratios[tokens[at]] = max(float(found[at]), ratios.get(tokens[at], 0.0))
                judges[tokens[at]] = ~finders | judges.get(tokens[at], ~finders)
    order = sorted(ratios, key=lambda token: (-int(judges[token].sum()), -ratios[token], token))
    return [(token, ratios[token], judges[token]) for token in order[:most]]


def _near_tokens(label: int, verbalizer: Verbalizer, mlm: MlmHead, vocabulary: Vocabulary) -> dict[int, float]:
    """The words nearest to a label's own, with their nearness, the nearest first."""
    rows = sorted({token for word in verbalizer.ids[label] for token in word})
    own = mlm.decoder_weight[rows].mean(dim=0, keepdim=True)
    nearness = cosine_similarity(mlm.decoder_weight[: len(vocabulary.words)], own).cpu()
    words = torch.tensor([token for token, word in enumerate(vocabulary.words) if word], dtype=torch.int64)
    nearest = words[nearness[words].topk(min(_NEAREST, len(words))).indices]
    return {token: float(nearness[token]) for token in nearest.tolist()}


def _letters(text: str) -> str:
    """A token's word, or "" if it is none."""
    word = text.strip()
    has_case = word.casefold() != word.upper()
    return word if word.isalpha() and (len(word) >= _LEAST_LETTERS or not has_case) else ""


def _parts(name: str) -> Sequence[str]:
    return (name, *_WORD.findall(name))
