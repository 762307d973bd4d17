"""Texts tokenised by themselves and put into the tokens of their pattern, as in the code of the PETapter paper.

There (arXiv 2412.04975) the pattern is tokenised once with a special token where the text belongs, whose place the
tokens of the text then take. So no text begins with the space that the pattern has before it, which is a token of its
own to byte-level tokenizers. Here the padding token marks the place: it parts the pattern alike and needs no new token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from petapter_schemas.errors import TaskError
from petapter_schemas.task import Literally, PatternSpec, Slot, split_template


@dataclass(frozen=True)
class Located:
    """A whole pattern as token ids, and where in it the fields and the masks are.

    Attributes:
        ids: Token ids with special tokens, uncut.
        fields: By text slot of the pattern, the indices of its tokens.
        masks: Indices of the masks in pattern order, length M.
    """

    ids: Sequence[int]
    fields: Sequence[Sequence[int]]
    masks: Sequence[int]


def locate_apart(
    tokenizer: PreTrainedTokenizerBase, pattern: PatternSpec, texts: Sequence[Mapping[str, str]]
) -> list[Located]:
    """Tokenise texts, given by field, apart from their pattern and put them in.

    Raises:
        TaskError: The tokenizer has no token that could mark the place of a text, or the pattern spells it out.
    """
    marker = _marker(tokenizer)
    template = _template_ids(tokenizer, pattern, marker)
    slots = [piece.field for piece in split_template(pattern.template) if isinstance(piece, Slot) and not piece.is_mask]
    tokens_of = {name: _bare_ids(tokenizer, [fields[name] for fields in texts]) for name in dict.fromkeys(slots)}
    return [
        _put_in(template, [tokens_of[name][text] for name in slots], tokenizer.pad_token_id, tokenizer.mask_token_id)
        for text in range(len(texts))
    ]


def _marker(tokenizer: PreTrainedTokenizerBase) -> str:
    """The padding token, if it leaves the characters beside it alone."""
    added = tokenizer.added_tokens_decoder.get(tokenizer.pad_token_id)
    if added is None or added.lstrip or added.rstrip or added.single_word:
        raise TaskError("this tokenizer has no padding token to mark where a text belongs: read texts in the pattern")
    return str(tokenizer.pad_token)


def _template_ids(tokenizer: PreTrainedTokenizerBase, pattern: PatternSpec, marker: str) -> list[int]:
    """Ids of the pattern with special tokens, the marker in the places of the texts."""
    pieces = split_template(pattern.template)
    if any(isinstance(piece, Literally) and marker in piece.text for piece in pieces):
        raise TaskError(f"pattern {pattern.template!r} spells out {marker!r}, which marks the place of a text: drop it")
    written = "".join(
        piece.text if isinstance(piece, Literally) else str(tokenizer.mask_token) if piece.is_mask else marker
        for piece in pieces
    )
    ids: list[int] = tokenizer(written, verbose=False)["input_ids"]
    return ids


def _bare_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _put_in(template: Sequence[int], texts: Sequence[Sequence[int]], marker_id: int, mask_id: int) -> Located:
    ids: list[int] = []
    fields: list[range] = []
    masks: list[int] = []
    for token in template:
        if token == marker_id:
            text = texts[len(fields)]
            fields.append(range(len(ids), len(ids) + len(text)))
            ids += text
            continue
        if token == mask_id:
            masks.append(len(ids))
        ids.append(token)
    return Located(ids, fields, masks)
