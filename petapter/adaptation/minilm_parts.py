"""Trains masked-LM parts of the built-in backbone anew: `python -m petapter.adaptation.minilm_parts --help`.

The parts in `petapter/assets/minilm_mlm/` are older than this script, which did not make them. It follows what is said
of how they were trained (the README there): English Wikipedia of 2015, Wikinews, Stack Exchange posts and speeches in
the public domain, pieces of 96 tokens of which 15 % are hidden, 32 a step, LoRA of rank 24 and alpha 48 on every linear
map together with a new head, AdamW at 1.5e-3 falling linearly to 0, bfloat16 products, 42 minutes on two CPU cores. No
run of it on these texts is recorded, so how close its parts come is not known. To use new parts, copy them over the old
ones; the fingerprint of `minilm` changes with them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from petapter.adaptation.adapting import Base, train_parts
from petapter.adaptation.learning import OnProgress
from petapter.adaptation.options import AdaptationOptions
from petapter.adaptation.saving import write_parts
from petapter.adaptation.texts import Texts
from petapter_schemas.digests import sha256_file
from petapter_schemas.durable import new_directory
from petapter_schemas.errors import BackboneError, PetapterError
from petapter_schemas.minilm import MINILM_ENCODER_SHA256, MINILM_HUB_ID

_MINUTES = 42.0
_LR = 1.5e-3


def make_parts(
    encoder: Path, texts: Texts, out: Path, options: AdaptationOptions, *, on_progress: OnProgress | None = None
) -> str:
    """Train adapter and head for an encoder and write them unmerged.

    Args:
        encoder: Directory of an encoder without a masked-LM head.
        texts: To train on.
        out: The directory to make: adapter_model.safetensors and mlm_head.safetensors.
        options: Choices of the run.
        on_progress: Told after each step.

    Returns:
        A line on what came out.

    Raises:
        PetapterError: Encoder or texts cannot be used, or `out` exists.
    """
    with new_directory(out) as scratch:
        adapted = train_parts(Base(encoder, repo=MINILM_HUB_ID), texts, scratch, options, on_progress=on_progress)
        parts = scratch / "parts"
        parts.mkdir()
        write_parts(adapted.backbone, adapted.learned, parts)
        parts.replace(out)
    learned = adapted.learned
    return (
        f"{learned.steps} steps in {learned.seconds:.0f} s; held-out loss {learned.held_out.before:.3f} before, "
        f"{learned.held_out.after:.3f} after ({learned.held_out.predictions} predictions)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train parts as the command line asks; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the masked-LM parts of the built-in backbone minilm.")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXTS", help="one document per line; .xz and .gz too")
    parser.add_argument("--encoder", type=Path, required=True, help="directory of the published all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True, help="new directory for the two files")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="time to train for (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        _check_encoder(given.encoder)
        options = AdaptationOptions(seed=given.seed, minutes=given.minutes, lr=_LR, precision="bfloat16")
        texts = Texts(tuple(given.texts))
        sys.stdout.write(make_parts(given.encoder, texts, given.out, options, on_progress=_Teller()) + "\n")
    except PetapterError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


class _Teller:
    """Writes a line for each hundredth of the run that is done."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, share: float, loss: float) -> None:
        if (percent := int(share * 100)) > self._told:
            self._told = percent
            sys.stderr.write(f"{percent} % done, loss {loss:.3f}\n")


def _check_encoder(directory: Path) -> None:
    weights = directory / "model.safetensors"
    if not weights.is_file() or sha256_file(weights) != MINILM_ENCODER_SHA256:
        raise BackboneError(f"{directory} does not hold the published weights of {MINILM_HUB_ID}: fetch them")


if __name__ == "__main__":
    sys.exit(main())
