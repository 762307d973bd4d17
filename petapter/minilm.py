"""Builds the backbone called `minilm`: all-MiniLM-L6-v2 with the small parts that make it a masked language model.

The arithmetic is done so that every machine gets the same bits, because the backbone's fingerprint is a digest of them.
"""

import json
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from petapter_schemas.adapter_files import PEFT_PREFIX
from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import BackboneError
from petapter_schemas.minilm import MINILM_ENCODER_SHA256

_PARTS = "assets/minilm_mlm"
_LORA_SCALE = 2.0  # alpha 48 / rank 24


def build_minilm(encoder_directory: Path, out: Path) -> Path:
    """Merge the masked-LM parts into the published encoder and write a model directory.

    Args:
        encoder_directory: Holds the published model.safetensors and tokenizer.json.
        out: Directory to create; holds config.json, model.safetensors and the tokenizer's files afterwards.

    Returns:
        `out`.

    Raises:
        BackboneError: The encoder is not the published one.
    """
    weights = encoder_directory / "model.safetensors"
    tokenizer = encoder_directory / "tokenizer.json"
    if not weights.is_file() or not tokenizer.is_file():
        raise BackboneError(f"{encoder_directory} has no model.safetensors and tokenizer.json: fetch all-MiniLM-L6-v2")
    if (found := sha256_file(weights)) != MINILM_ENCODER_SHA256:
        raise BackboneError(f"{weights} is not the published all-MiniLM-L6-v2 (sha256 {found[:12]}…): fetch it again")
    out.mkdir(parents=True, exist_ok=True)
    with as_file(files("petapter") / _PARTS) as parts:
        save_file(_merged(load_file(weights), parts), out / "model.safetensors", metadata={"format": "pt"})
        for name in ("config.json", "tokenizer_config.json"):
            shutil.copyfile(parts / name, out / name)
    _write_tokenizer(tokenizer, out / "tokenizer.json")
    return out


def _merged(encoder: dict[str, torch.Tensor], parts: Path) -> dict[str, torch.Tensor]:
    factors = load_file(parts / "adapter_model.safetensors")
    merged = {
        f"bert.{name}": _add_lora(tensor, name.removesuffix(".weight"), factors)
        for name, tensor in encoder.items()
        if name != "embeddings.position_ids" and not name.startswith("pooler.")
    }
    return merged | load_file(parts / "mlm_head.safetensors")


def _add_lora(weight: torch.Tensor, layer: str, factors: dict[str, torch.Tensor]) -> torch.Tensor:
    down = factors.get(f"{PEFT_PREFIX}{layer}.lora_A.weight")
    if down is None:
        return weight
    return merged_weight(weight, down, factors[f"{PEFT_PREFIX}{layer}.lora_B.weight"], _LORA_SCALE)


def merged_weight(weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float) -> torch.Tensor:
    """W + scale * B A, summed rank by rank in float64: elementwise IEEE steps, so no BLAS decides the last bit.

    Args:
        weight: W, [out, in], float32.
        down: A, [r, in].
        up: B, [out, r].
        scale: LoRA's alpha / r.
    """
    up = up.double()
    total = torch.zeros(weight.shape, dtype=torch.float64)
    for rank in range(down.shape[0]):
        product = up[:, rank, None] * down[None, rank].double()
        total = total + product  # not addcmul: that may be fused and round once instead of twice
    scaled = total * scale
    return (weight.double() + scaled).float()


def _write_tokenizer(source: Path, target: Path) -> None:
    """Copy tokenizer.json without its truncation to 128 tokens and its padding, which sentence encoding wanted."""
    document = json.loads(source.read_text(encoding="utf-8"))
    document["truncation"] = None
    document["padding"] = None
    target.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
