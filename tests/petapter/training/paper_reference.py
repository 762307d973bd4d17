"""PETapter's reading and training written out straight from their description, to compare the preset `paper` with.

Nothing here uses petapter or peft: texts one by one without padding, LoRA as a sum of two products, (IA)^3 as what
three linear maps give times vectors, the bottleneck as AdapterHub's `pfeiffer` written out, one optimiser loop. Modules
of the backbone have the names of transformers' BERT and RoBERTa.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerBase, get_linear_schedule_with_warmup

RANK, ALPHA = 8, 16


def read_as_in_the_paper(
    tokenizer: PreTrainedTokenizerBase, template: str, text: str, tokens: int
) -> tuple[list[int], list[int], int]:
    """A new special token stands for the text and is popped; ids, mask positions and lost tokens."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_special_tokens([AddedToken("<TEXT>", special=True, normalized=False)])
    written = template.replace("{text}", "<TEXT>").replace("{mask}", str(tokenizer.mask_token))
    pattern = list(backend.encode(written).ids)
    (place,) = (i for i, token in enumerate(pattern) if token == backend.token_to_id("<TEXT>"))
    pattern.pop(place)
    whole = backend.encode(text, add_special_tokens=False).ids
    kept = whole[: tokens - len(pattern)]
    ids = [*pattern[:place], *kept, *pattern[place:]]
    masks = np.where(np.array(ids) == tokenizer.mask_token_id)[0][: template.count("{mask}")]
    return ids, masks.tolist(), len(whole) - len(kept)


class Reference:
    """One run on one backbone with one of the paper's adapters, from given first values.

    Args:
        directory: Of the backbone.
        adapter: Its tensors under peft's names: LoRA on some linear maps, vectors of (IA)^3, or bottlenecks.
        head: Tensors of the head.
    """

    def __init__(self, directory: Path, adapter: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> None:
        self.model = AutoModelForMaskedLM.from_pretrained(directory).base_model.requires_grad_(False).train()
        self.adapter = {name: value.clone().requires_grad_() for name, value in adapter.items()}
        self.head = {name: value.clone().requires_grad_() for name, value in head.items()}
        places: dict[str, dict[str, Tensor]] = {}
        for name, value in self.adapter.items():
            place, part = re.fullmatch(r"base_model\.model\.\w+\.(.+?)\.((?:lora|ia3|bottleneck)_.+)", name).groups()  # type: ignore[union-attr]
            places.setdefault(place, {})[part] = value
        for place, parts in places.items():
            layer = self.model.get_submodule(place)
            if "ia3_l" in parts:
                layer.register_forward_hook(_scaled(parts["ia3_l"]))
            elif "lora_A.weight" in parts:
                layer.register_forward_hook(_added(parts["lora_A.weight"], parts["lora_B.weight"]))
            else:
                block = self.model.get_submodule(place.rpartition(".")[0])  # "output" of "output.LayerNorm"
                block.forward = _with_bottleneck(block, parts)

    def logits(self, ids: Sequence[int], masks: Sequence[int], words: Sequence[Sequence[int]]) -> Tensor:
        """One text's score by label: the sum over the masks of its word's tokens."""
        row = {token: index for index, token in enumerate(sorted({token for word in words for token in word}))}
        hidden = self.model(input_ids=torch.tensor([ids])).last_hidden_state[0, masks]  # [M, H]
        inner = gelu(hidden @ self.head["dense.weight"].T + self.head["dense.bias"])
        inner = layer_norm(inner, (inner.shape[-1],), self.head["norm.weight"], self.head["norm.bias"], 1e-12)
        scores = inner @ self.head["rows.weight"].T + self.head["rows.bias"]  # [M, T]
        by_label = [scores[range(len(word)), [row[token] for token in word]].sum() for word in words]
        return torch.stack(by_label)

    def train(
        self,
        texts: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[int],
        words: Sequence[Sequence[int]],
        *,
        epochs: int,
        seed: int,
        lr: float,
    ) -> list[float]:
        """Batches of two; the loss of every step."""
        steps = epochs * ((len(texts) + 1) // 2)
        optimizer = torch.optim.AdamW([*self.adapter.values(), *self.head.values()], lr=lr, weight_decay=0.0)
        schedule: LambdaLR = get_linear_schedule_with_warmup(optimizer, 0, steps)
        losses = []
        for batch in _pairs(len(texts), epochs, seed):
            each = [cross_entropy(self.logits(*texts[i], words), torch.tensor(labels[i])) for i in batch]
            loss = torch.stack(each).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*self.adapter.values(), *self.head.values()], 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        return losses


def _added(down: Tensor, up: Tensor) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
    def hook(_: nn.Module, given: tuple[Tensor], output: Tensor) -> Tensor:
        return output + given[0] @ down.T @ up.T * (ALPHA / RANK)

    return hook


def ones_of_ia3(directory: Path) -> dict[str, Tensor]:
    """The first vectors of AdapterHub's `IA3Config`: ones, on keys, values and what the activation gets."""
    whole = AutoModelForMaskedLM.from_pretrained(directory)
    linear = {name: module for name, module in whole.named_modules() if isinstance(module, nn.Linear)}
    scaled = ("attention.self.key", "attention.self.value", "intermediate.dense")
    return {
        f"base_model.model.{name}.ia3_l": torch.ones(module.out_features, 1)
        for name, module in linear.items()
        if name.endswith(scaled)
    }


def _scaled(vector: Tensor) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
    def hook(_: nn.Module, __: tuple[Tensor], output: Tensor) -> Tensor:
        return output * vector.flatten()

    return hook


def _with_bottleneck(block: nn.Module, parts: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """LN(r + h + up(relu(down(LN(r + h))))): original_ln_before, residual_before_ln and original_ln_after."""

    def forward(values: Tensor, residual: Tensor) -> Tensor:
        given = block.dense(values)  # the paper's blocks drop out here; the backbones of these tests do not
        normed = block.LayerNorm(residual + given)
        inner = torch.relu(normed @ parts["bottleneck_down.weight"].T + parts["bottleneck_down.bias"])
        adapted = inner @ parts["bottleneck_up.weight"].T + parts["bottleneck_up.bias"]
        result: Tensor = block.LayerNorm(residual + given + adapted)
        return result

    return forward


def _pairs(rows: int, epochs: int, seed: int) -> Iterator[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(rows, generator=generator).tolist()
        yield from (order[start : start + 2] for start in range(0, rows, 2))
