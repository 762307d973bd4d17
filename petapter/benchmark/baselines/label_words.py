"""What a masked LM says of the label words at the masks of a pattern, through its own head of whatever kind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from petapter.backbone import Backbone
from petapter.benchmark.baselines.sequences import Padded, TokenRow, pattern_rows
from petapter.task import Encoder, Verbalizer, lint_task, read_verbalizer
from petapter.task.encoding import Fields
from petapter_schemas.errors import BackboneError, TaskError
from petapter_schemas.task import PatternSpec, TaskSpec


class LabelWords:
    """The label words of a task on a backbone."""

    def __init__(self, task: TaskSpec, backbone: Backbone) -> None:
        """Read the words.

        Raises:
            TaskError: The words or patterns cannot work on this backbone; the message names the first problem.
            BackboneError: The backbone has no masked-LM head.
        """
        if not backbone.has_mlm_head:
            raise BackboneError(
                f"{backbone.repo!r} comes without a masked-LM head, so its label words mean nothing: "
                "choose another backbone or a method without label words"
            )
        for finding in lint_task(task, backbone.tokenizer, backbone.max_tokens):
            if finding.severity == "error":
                raise TaskError(finding.message)
        self._task = task
        self._backbone = backbone
        self._verbalizer = read_verbalizer(task, backbone.tokenizer)

    def rows(self, texts: Sequence[Fields], pattern: PatternSpec) -> list[TokenRow]:
        """Texts in a pattern."""
        encoder = Encoder(self._backbone.tokenizer, pattern, self._backbone.max_tokens, self._task.tokenization)
        return pattern_rows(encoder.encode(texts))

    def means(self, token_scores: Tensor) -> Tensor:
        """By label the mean over its words of the mean over a word's tokens, each at its own mask.

        Args:
            token_scores: [B, M, V], of every token at every mask.

        Returns:
            [B, L].
        """
        ids = torch.tensor(self._verbalizer.row_token_ids, device=token_scores.device)
        weights = _word_weights(self._verbalizer, token_scores.shape[1]).to(token_scores.device)  # [L, M, T]
        return torch.einsum("bmt,lmt->bl", token_scores[:, :, ids], weights)


def mask_scores(model: PreTrainedModel) -> Callable[[Padded], Tensor]:
    """The masked LM's logits [B, M, V] at the masks alone; the vocabulary is not scored anywhere else."""

    def read(batch: Padded) -> Tensor:
        where = torch.arange(len(batch.masks), device=batch.masks.device).unsqueeze(1), batch.masks
        with _only_at(model, where) as narrowed:
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        at_masks: Tensor = logits if narrowed else logits[where]
        return at_masks

    return read


@contextmanager
def _only_at(model: PreTrainedModel, where: tuple[Tensor, Tensor]) -> Iterator[bool]:
    """Let the last layer of the masked-LM head see positions [B, M] only; whether the model says which layer it is."""
    decoder = model.get_output_embeddings()
    if not isinstance(decoder, nn.Linear):
        yield False
        return
    hook = decoder.register_forward_pre_hook(lambda _, inputs: (cast("Tensor", inputs[0])[where],))
    try:
        yield True
    finally:
        hook.remove()


def _word_weights(verbalizer: Verbalizer, masks: int) -> Tensor:
    """[L, M, T]: what each distinct token counts at each mask in each label's mean."""
    row_of = {token: row for row, token in enumerate(verbalizer.row_token_ids)}
    weights = torch.zeros(len(verbalizer.ids), masks, len(row_of))
    for label, words in enumerate(verbalizer.ids):
        for word in words:
            for position, token in enumerate(word):
                weights[label, position, row_of[token]] += 1 / len(word) / len(words)
    return weights
