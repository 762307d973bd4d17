"""Writes the files of an adapted backbone, and the parts of one before they are merged."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

from petapter.adaptation.learning import Learned
from petapter.adaptation.record import RECORD_FILE, AdaptationRecord, render_page
from petapter.backbone import Backbone, Fingerprint
from petapter_schemas.adapter_files import PEFT_PREFIX
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import BackboneError
from petapter_schemas.fingerprints import config_sha256, tokenizer_sha256, weights_sha256

_TOKENIZER = "tokenizer.json"
_TOKENIZER_FILES = (
    _TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)
"""Copied as they are, so that the tokenizer keeps its fingerprint."""

ADAPTER_FILE = "adapter_model.safetensors"
HEAD_FILE = "mlm_head.safetensors"


def write_backbone(backbone: Backbone, base_directory: Path, built: Path) -> None:
    """Write configuration and weights of a merged backbone, and the tokenizer's files of its base.

    Raises:
        BackboneError: A weight is no number.
    """
    for name, parameter in backbone.model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise BackboneError(f"the weight {name} is no number after training: choose a lower learning rate")
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        backbone.model.save_pretrained(built)
    finally:
        if bar:
            transformers_logging.enable_progress_bar()
    for name in _TOKENIZER_FILES:
        if (base_directory / name).is_file():
            shutil.copyfile(base_directory / name, built / name)
    _untruncate(built / _TOKENIZER)


def read_fingerprint(backbone: Backbone, built: Path) -> Fingerprint:
    """What the written directory is."""
    return Fingerprint(
        architecture=type(backbone.model).__name__,
        config_sha256=config_sha256(built / "config.json"),
        weights_sha256=weights_sha256(built),
        tokenizer_sha256=tokenizer_sha256(built / _TOKENIZER),
    )


def describe(record: AdaptationRecord, built: Path) -> None:
    """Write provenance and page."""
    write_file_durably(built / RECORD_FILE, record.json_bytes())
    write_file_durably(built / "README.md", render_page(record).encode())


def write_parts(backbone: Backbone, learned: Learned, directory: Path) -> None:
    """Write LoRA's factors, in float16 and by the names they have around the bare encoder, and the head in float32.

    Such parts are what `petapter.minilm` merges.
    """
    outer = f"{PEFT_PREFIX}{backbone.model.base_model_prefix}."
    factors = {
        f"{PEFT_PREFIX}{name.removeprefix(outer)}": tensor.half().contiguous()
        for name, tensor in learned.factors.items()
    }
    head = {name: tensor.contiguous() for name, tensor in learned.head.items()}
    save_file(factors, directory / ADAPTER_FILE, metadata={"format": "pt"})
    save_file(head, directory / HEAD_FILE, metadata={"format": "pt"})


def _untruncate(path: Path) -> None:
    """Switch off truncation and padding, which sentence encoders carry; neither counts in the fingerprint."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["truncation"] = document["padding"] = None
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
