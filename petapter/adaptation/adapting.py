"""The walk from texts and a backbone to an adapted backbone directory, which appears whole or not at all."""

import logging
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from petapter.adaptation.learning import Learned, OnProgress, learn, merge
from petapter.adaptation.options import AdaptationOptions
from petapter.adaptation.pieces import Pieces, gather_pieces
from petapter.adaptation.record import AdaptationRecord, BaseRecord
from petapter.adaptation.saving import describe, read_fingerprint, write_backbone
from petapter.adaptation.texts import TextFile, Texts
from petapter.backbone import Backbone
from petapter.mlm_head import read_mlm_head
from petapter_schemas.durable import new_directory, sync_directory
from petapter_schemas.errors import BackboneError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """The backbone to begin with.

    Attributes:
        directory: Its files; they stay as they are.
        repo: Name to record; the directory's name by default.
        revision: Commit to record.
    """

    directory: Path
    repo: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Adapted:
    """A trained adapter and head, not yet merged, with all that is known of how they came about."""

    backbone: Backbone
    options: AdaptationOptions
    texts: tuple[TextFile, ...]
    pieces: Pieces
    learned: Learned


def adapt(
    base: Base,
    texts: Texts,
    out: Path,
    options: AdaptationOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> AdaptationRecord:
    """Train a backbone further by masked language modelling and write the result as a backbone directory.

    Args:
        base: A masked LM, or an encoder without a masked-LM head, which then gets one.
        texts: Unlabelled; a fiftieth of the documents is held out to measure on.
        out: The directory to make; transformers and `Backbone.load` open it.
        options: Choices of the run.
        on_progress: Told after each step.

    Raises:
        InputError: The texts cannot be used, `out` exists, or training diverged.
        BackboneError: The base cannot be used.
    """
    with new_directory(out) as scratch:
        adapted = train_parts(base, texts, scratch, options or AdaptationOptions(), on_progress=on_progress)
        built = scratch / "built"
        merge(adapted.backbone, adapted.learned.factors, adapted.options.alpha / max(1, adapted.options.rank))
        write_backbone(adapted.backbone, base.directory, built)
        record = _record(adapted, built)
        describe(record, built)
        _appear(built, out)
    if record.held_out.after > record.held_out.before:
        logger.warning(
            "the loss on held-out documents rose from %.3f to %.3f: the backbone became worse for these texts; take "
            "more text, fewer steps or a lower learning rate",
            record.held_out.before,
            record.held_out.after,
        )
    return record


def train_parts(
    base: Base, texts: Texts, scratch: Path, options: AdaptationOptions, *, on_progress: OnProgress | None = None
) -> Adapted:
    """Train without merging.

    Args:
        base: Backbone to begin with.
        texts: Unlabelled.
        scratch: An existing directory for the pieces of the texts.
        options: Choices of the run.
        on_progress: Told after each step.

    Raises:
        PetapterError: As `adapt`.
    """
    digests = texts.digests()
    backbone = Backbone.load(base.directory, repo=base.repo, revision=base.revision)
    _check_head(backbone)
    chosen = options.resolved(backbone.hidden_size, backbone.max_tokens)
    size = chosen.piece_tokens or 0
    pieces = gather_pieces(texts.documents(), backbone.tokenizer, size, scratch, chosen.seed)
    return Adapted(backbone, chosen, digests, pieces, learn(backbone, pieces, chosen, on_progress))


def _check_head(backbone: Backbone) -> None:
    """Before hours are spent; the message of the core is about training a module, which can do without."""
    try:
        read_mlm_head(backbone.model)
    except BackboneError as error:
        kind = backbone.model.config.model_type
        raise BackboneError(
            f"{backbone.repo!r} cannot be adapted: the masked-LM head of a {kind} model is not known here: take a "
            "backbone of another architecture"
        ) from error


def _appear(built: Path, out: Path) -> None:
    for path in built.iterdir():
        path.chmod(0o644)  # safetensors writes through a private file
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_directory(built)
    built.replace(out)
    sync_directory(out.parent)


def _record(adapted: Adapted, built: Path) -> AdaptationRecord:
    backbone, learned = adapted.backbone, adapted.learned
    base = BaseRecord(backbone.repo, backbone.revision, backbone.fingerprint, backbone.has_mlm_head)
    return AdaptationRecord(
        base=base,
        texts=adapted.texts,
        facts=adapted.pieces.facts,
        pieces=len(adapted.pieces.training),
        options=adapted.options,
        steps=learned.steps,
        seconds=round(learned.seconds, 3),
        last_loss=learned.last_loss,
        held_out=learned.held_out,
        hardware=_hardware(backbone),
        libraries={name: version(name) for name in ("torch", "transformers", "peft", "petapter")},
        fingerprint=read_fingerprint(backbone, built),
    )


def _hardware(backbone: Backbone) -> str:
    if backbone.device.type == "cuda":
        return torch.cuda.get_device_name(backbone.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
