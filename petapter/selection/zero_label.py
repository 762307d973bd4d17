"""A module from label words alone: no row, no training, and a manifest that says so."""

import time
from collections.abc import Sequence

import torch

from petapter.adapters import AdapterSlots
from petapter.backbone import Backbone
from petapter.golden import probe_texts, record_golden
from petapter.head import PetHead, head_spec, part_parameters
from petapter.scoring import score
from petapter.selection.word_reading import read_words, word_head
from petapter.task import Example, read_verbalizer, rows_digest
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.record import Outcome, peak_memory_bytes, training_spec
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import HeadPart
from petapter_schemas.task import TaskSpec

PRESET = "zero-label"
"""What the manifest calls it."""

_NO_ADAPTER = AdapterSpec(kind="none", parameters=0)
_PARTS: tuple[HeadPart, ...] = ("labels",)


def zero_label_module(task: TaskSpec, texts: Sequence[Fields], backbone: Backbone) -> TrainedModule:
    """Make a module of what the masked language model says of the label words, less their prior.

    Several patterns are averaged, as in any module. Its probabilities are not calibrated, for no row tells how often
    it is right; it has no profile either. The manifest counts 0 rows of each label and 0 steps, and names the texts of
    the prior by number and digest.

    Args:
        task: A single-label task; where it states `class_prior`, labels are given about as often.
        texts: Unlabelled texts by field, one or more; some hundred make the prior sure.
        backbone: With a masked-LM head.

    Raises:
        InputError: The task is multi-label.
        DataError: There is no text.
        TaskError: Words or patterns cannot work on this backbone.
        BackboneError: It has no masked-LM head, an engine has it, or it was loaded for answers alone.
    """
    backbone.check_trains()
    began = time.perf_counter()
    slots = AdapterSlots(backbone.model)
    try:
        head = word_head(task, backbone)
        reading = read_words(task, texts, backbone, head)
        with torch.no_grad():
            head.label_bias.copy_((-reading.prior).half())  # what is stored is what is measured
        return _collect(task, texts, backbone, head, time.perf_counter() - began)
    finally:
        slots.close()


def _collect(
    task: TaskSpec, texts: Sequence[Fields], backbone: Backbone, head: PetHead, seconds: float
) -> TrainedModule:
    probes = probe_texts(task.fields)
    scores = score(backbone, head, task, probes, None)
    if not bool(torch.isfinite(scores.log_probabilities).all()):
        raise InputError(f"the scores of {backbone.repo!r} are no numbers: load its weights again")
    training = training_spec(
        task,
        [],
        backbone,
        Outcome(0, seconds, peak_memory_bytes(backbone)),
        preset=PRESET,
        seed=0,
        hyperparameters={
            "unlabelled_texts": len(texts),
            "unlabelled_sha256": rows_digest([Example(dict(text)) for text in texts]),
        },
    )
    return TrainedModule(
        task=task,
        backbone=backbone.spec(read_verbalizer(task, backbone.tokenizer)),
        adapter=_NO_ADAPTER,
        head=head_spec(head, "mlm", _PARTS).model_copy(update={"dtype": "float16"}),
        training=training.model_copy(update={"seeds": ()}),
        calibration=None,
        golden=record_golden(probes, scores),
        adapter_config=None,
        adapter_tensors={},
        head_tensors={name: tensor.detach().cpu().half() for name, tensor in part_parameters(head, _PARTS).items()},
    )
