"""Hides tokens to predict, as in BERT (Devlin et al. 2018, arXiv 1810.04805)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from petapter.adaptation.pieces import FILLER
from petapter.backbone import Backbone
from petapter_schemas.errors import BackboneError

_TO_MASK, _TO_ANY = 0.8, 0.9
"""Of the hidden tokens 80 % become the mask, 10 % any token, and 10 % stay as they are."""


@dataclass(frozen=True)
class MaskedBatch:
    """What the model reads and what it has to find.

    Attributes:
        input_ids: [B, S].
        attention_mask: [B, S]; 0 behind the end of a piece.
        chosen: Whether a position has to be predicted, [B, S].
        targets: The tokens at the chosen positions in reading order, [T], at least one.
    """

    input_ids: Tensor
    attention_mask: Tensor
    chosen: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Masking:
    """How tokens are hidden for one tokenizer.

    Attributes:
        share: Of the tokens, special ones not counted.
        mask_id: Of the mask token.
        pad_id: Behind the end of a piece.
        special_ids: Never hidden, [Z].
        vocabulary: Tokens to draw from.
    """

    share: float
    mask_id: int
    pad_id: int
    special_ids: Tensor
    vocabulary: int

    @classmethod
    def of(cls, backbone: Backbone, share: float) -> "Masking":
        """For a backbone's tokenizer."""
        tokenizer: PreTrainedTokenizerBase = backbone.tokenizer
        if not isinstance(tokenizer.mask_token_id, int):
            raise BackboneError("the tokenizer has no single mask token: take a masked language model")
        specials = torch.tensor(sorted(tokenizer.all_special_ids))
        return cls(share, tokenizer.mask_token_id, backbone.pad_id, specials, len(tokenizer))

    def hide(self, pieces: NDArray[np.int32], generator: torch.Generator) -> MaskedBatch:
        """Hide tokens of pieces [B, S], each of which has at least one that is not special."""
        ids = torch.from_numpy(pieces.astype(np.int64))  # [B, S]
        is_text = (ids != FILLER) & ~torch.isin(ids, self.special_ids)
        draw = torch.rand(ids.shape, generator=generator).masked_fill(~is_text, 2.0)
        chosen = draw < max(self.share, float(draw.min()) + 1e-6)  # never none
        fate = torch.rand(ids.shape, generator=generator)
        anything = torch.randint(self.vocabulary, ids.shape, generator=generator)
        hidden = torch.where(fate < _TO_MASK, self.mask_id, torch.where(fate < _TO_ANY, anything, ids))
        read = torch.where(chosen, hidden, ids)
        return MaskedBatch(
            input_ids=read.masked_fill(ids == FILLER, self.pad_id),
            attention_mask=(ids != FILLER).long(),
            chosen=chosen,
            targets=ids[chosen],
        )
