"""Words of the vocabulary that may stand for a label, by what a masked language model says at the mask.

A word is a candidate for label y by the ratio of its likelihoods between the classes,

    r_y(w) = mean over rows of y of log q(w|x) - mean over other rows of log q(w|x)

with q the model's distribution over its vocabulary at the first mask, averaged over the patterns: the likelihood ratio
of PETAL (Schick, Schmid and Schütze 2020, arXiv 2010.13641), each side a mean, so that classes of any size count alike.
Ten rows make such ratios noisy, and words that merely occur in them high: only words whose row of the decoder is among
the nearest to that of the label's own words are looked at.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedTokenizerBase

from petapter.mlm_head import MlmHead
from petapter.task import Verbalizer, read_verbalizer
from petapter.task.encoding import Fields
from petapter.task.verbalizer import word_ids
from petapter_schemas.task import TaskSpec

_NEAREST = 1000
"""Words of the vocabulary, by the cosine of their decoder rows to the mean of the label's own."""
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
    """

    label: int
    token: int
    word: str
    ratio: float
    nearness: float


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


def candidate_words(
    task: TaskSpec,
    ratios: Tensor,
    mlm: MlmHead,
    vocabulary: Vocabulary,
    *,
    occurring: Counter[str] | None,
    most: int,
) -> list[list[CandidateWord]]:
    """By label its candidates, the highest ratio first; each word for one label, and none that a label has already.

    Args:
        task: Labels with their own words.
        ratios: As `likelihood_ratios` gives them, [L, V].
        mlm: Of the backbone.
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

    found: list[list[CandidateWord]] = []
    for label in range(len(task.labels)):
        chosen: list[CandidateWord] = []
        for token, nearness in _near_tokens(label, verbalizer, ratios[label], mlm, vocabulary):
            if len(chosen) == most:
                break
            if may_be(token):
                ratio = float(ratios[label, token])
                chosen.append(CandidateWord(label, token, vocabulary.words[token], ratio, nearness))
                taken.add(vocabulary.words[token].casefold())
        found.append(chosen)
    return found


@torch.no_grad()
def likelihood_ratios(first: Tensor, targets: Tensor, mlm: MlmHead) -> Tensor:
    """The ratio r of every token for every label, nats, [L, V]; zeros for a label without rows or without other rows.

    Args:
        first: What the decoder reads at the first mask of N rows, by pattern, [P, N, E].
        targets: 1 where a row has a label, [N, L].
        mlm: The decoder.
    """
    patterns, rows = first.shape[:2]
    device = mlm.decoder_weight.device
    own = torch.zeros(targets.shape[1], len(mlm.decoder_weight), device=device)  # [L, V]
    every = torch.zeros(len(mlm.decoder_weight), device=device)  # [V]
    for pattern in range(patterns):
        for start in range(0, rows, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            logits = first[pattern, part].to(device) @ mlm.decoder_weight.T + mlm.decoder_bias
            said = torch.log_softmax(logits, dim=-1) / patterns  # [B, V]
            own += targets[part].to(device).T @ said
            every += said.sum(dim=0)
    counts = targets.sum(dim=0).to(device).unsqueeze(1)  # [L, 1]
    ratios = own / counts.clamp_min(1) - (every - own) / (rows - counts).clamp_min(1)
    return torch.where((counts > 0) & (counts < rows), ratios, torch.zeros(())).cpu()


def _near_tokens(
    label: int, verbalizer: Verbalizer, ratios: Tensor, mlm: MlmHead, vocabulary: Vocabulary
) -> Iterator[tuple[int, float]]:
    """Words near a label's own that are likelier in its rows, with their nearness; the highest ratio first."""
    rows = sorted({token for word in verbalizer.ids[label] for token in word})
    size = len(vocabulary.words)
    own = mlm.decoder_weight[rows].mean(dim=0, keepdim=True)
    nearness = cosine_similarity(mlm.decoder_weight[:size], own).cpu()
    words = torch.tensor([token for token, word in enumerate(vocabulary.words) if word])
    nearest = words[nearness[words].topk(min(_NEAREST, len(words))).indices]
    for at in torch.argsort(ratios[nearest], descending=True, stable=True).tolist():
        token = int(nearest[at])
        if ratios[token] <= 0:
            return
        yield token, float(nearness[token])


def _letters(text: str) -> str:
    """A token's word, or "" if it is none."""
    word = text.strip()
    has_case = word.casefold() != word.upper()
    return word if word.isalpha() and (len(word) >= _LEAST_LETTERS or not has_case) else ""


def _parts(name: str) -> Sequence[str]:
    return (name, *_WORD.findall(name))
