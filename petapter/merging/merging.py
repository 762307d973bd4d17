"""Merges the weights of modules into one module, and records anew what cannot be averaged."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from petapter.adapters import AdapterSlots, config_values, peft_config
from petapter.backbone import Backbone
from petapter.evaluation import gold_labels
from petapter.golden import probe_texts, record_golden
from petapter.head import restore_head
from petapter.merging.adapters import MergedAdapter, as_stored, common_dtype, merge_adapters
from petapter.merging.members import check_mergeable
from petapter.merging.recipe import Recipe
from petapter.runtime.ensembles import shares
from petapter.scoring import Scores, score
from petapter.task import Example, rows_digest
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.out_of_fold import calibration_from
from petapter.training.record import peak_memory_bytes
from petapter_schemas import strict_json
from petapter_schemas.manifest import CalibrationSpec, HeadSpec, TrainingSpec

logger = logging.getLogger(__name__)

PRESET = "merge"
"""What `training.preset` says of a merge."""

_SLOT = "merged"
_LEAST_HELD = 0.9
_EPS = 1e-6
_MOST_CHARACTERS = 200


def merge(
    modules: Sequence[TrainedModule], backbone: Backbone, recipe: Recipe, *, tune: Sequence[Example] = ()
) -> TrainedModule:
    """Merge modules of one backbone, task and form into one that costs what one costs.

    Adapters are merged by the recipe's method (petapter/merging/adapters.py). Heads are averaged whatever the method:
    what a label map or a row of a label word scores is linear in it, so that this is the mean of the heads' scores
    of the same features; that they were trained from a common start does not make their differences sparse changes of
    it. `words`, the weight of the label words, is averaged likewise. Equal modules, and one with all the weight, merge
    into a module that says the same, as far as a density of 1 drops nothing of them.

    Calibrations are not averaged: with rows to tune on there is a new one, else none. Golden outputs are recorded anew.

    Args:
        modules: Two or more.
        backbone: That of the modules; bare, and bare again afterwards.
        recipe: Method and weights.
        tune: Labelled rows that no member was trained on and that the merge is not measured on.

    Raises:
        InputError: The modules cannot be merged, or the weights do not fit.
        BackboneMismatchError: They belong to another backbone.
        BackboneError: An engine has the backbone.
        DataError: The rows to tune on do not fit.
    """
    began = time.perf_counter()
    check_mergeable(modules, [f"module {number}" for number in range(1, len(modules) + 1)])
    backbone.check_fits(modules[0].backbone, modules[0].verbalizer)
    draft, adapter = drafted(modules, backbone, recipe)
    _tell(adapter, recipe)
    if not tune:
        _tell_of_calibrations(modules)
    calibration = calibrated_on(draft, backbone, tune) if tune else None
    texts = probe_texts(draft.task.fields)
    golden = record_golden(texts, module_scores(backbone, draft, texts, calibration))
    facts = _facts(recipe, modules, adapter) | ({"tuned_on": rows_digest(tune)} if tune else {})
    training = _record(modules, backbone, facts, time.perf_counter() - began)
    return replace(draft, calibration=calibration, golden=golden, training=training)


def drafted(
    modules: Sequence[TrainedModule], backbone: Backbone, recipe: Recipe
) -> tuple[TrainedModule, MergedAdapter]:
    """A merge of modules that can be merged, without calibration and with the first one's golden outputs and record.

    Raises:
        InputError: The weights do not fit.
    """
    weights = shares(recipe.weights, len(modules))
    with _own_randomness(backbone):
        torch.manual_seed(recipe.seed)
        adapter = merge_adapters(modules, weights, recipe)
    head, tensors = _merged_head(modules, weights)
    draft = replace(
        modules[0],
        adapter=adapter.spec,
        head=head,
        calibration=None,
        adapter_config=_config(adapter, backbone),
        adapter_tensors=adapter.tensors,
        head_tensors=tensors,
        profile=None,
    )
    return draft, adapter


def module_scores(
    backbone: Backbone, module: TrainedModule, texts: Sequence[Fields], calibration: CalibrationSpec | None
) -> Scores:
    """What a module says of texts, without an engine.

    Raises:
        BackboneError: An engine has the backbone.
    """
    slots = AdapterSlots(backbone.model)
    with _own_randomness(backbone):  # torch and peft draw the first weights of what is written over
        try:
            if module.adapter.kind != "none":
                slots.add(_SLOT, peft_config(module.adapter, repo=backbone.repo))
                slots.write(_SLOT, module.adapter_tensors)
            patterns = len(module.task.patterns)
            head = restore_head(backbone, module.verbalizer, module.head, patterns, module.head_tensors)
            backbone.model.eval()
            return score(backbone, head, module.task, texts, calibration)
        finally:
            slots.close()
            backbone.model.eval()


def _own_randomness(backbone: Backbone) -> AbstractContextManager[None]:
    """Leave torch's random numbers to the caller as they were."""
    return torch.random.fork_rng([backbone.device] if backbone.device.type == "cuda" else [])


def calibrated_on(module: TrainedModule, backbone: Backbone, rows: Sequence[Example]) -> CalibrationSpec:
    """Calibrate a module on labelled rows that it has not seen (`calibration_from`).

    Raises:
        DataError: A label is not the module's.
        BackboneError: An engine has the backbone.
    """
    task = module.task
    gold = torch.from_numpy(gold_labels(task, rows)).float()  # [N, L]
    said = module_scores(backbone, module, [row.fields for row in rows], None).log_probabilities
    logits = said if task.type == "single-label" else torch.logit(said.exp(), eps=_EPS)
    return calibration_from(task, logits, gold, torch.tensor([row.weight for row in rows]))


def _merged_head(modules: Sequence[TrainedModule], weights: Sequence[float]) -> tuple[HeadSpec, dict[str, Tensor]]:
    """The weighted mean of heads of one form."""
    heads = [module.head for module in modules]
    dtype = common_dtype([head.dtype for head in heads])
    means: dict[str, Tensor] = {}
    for name in modules[0].head_tensors:
        stacked = torch.stack([module.head_tensors[name].double() for module in modules])
        means[name] = torch.einsum("k,k...->...", torch.tensor(weights, dtype=torch.float64), stacked).float()
    words = sum(weight * head.words for weight, head in zip(weights, heads, strict=True))
    return heads[0].model_copy(update={"words": words, "dtype": dtype}), as_stored(means, dtype)


def _config(adapter: MergedAdapter, backbone: Backbone) -> Mapping[str, object] | None:
    return None if adapter.spec.kind == "none" else config_values(peft_config(adapter.spec, repo=backbone.repo))


def _tell(adapter: MergedAdapter, recipe: Recipe) -> None:
    if adapter.held < _LEAST_HELD:
        logger.warning(
            "rank %d holds %.0f %% of what %s changes at the worst place: a higher density or linear loses less",
            adapter.spec.rank,
            100 * adapter.held,
            recipe.method,
        )


def _tell_of_calibrations(modules: Sequence[TrainedModule]) -> None:
    if any(module.calibration is not None for module in modules):
        logger.warning(
            "the members' calibrations cannot be averaged, so the merge has none: give rows to tune on (--tune)"
        )


def _facts(
    recipe: Recipe, modules: Sequence[TrainedModule], adapter: MergedAdapter
) -> dict[str, bool | int | float | str]:
    facts: dict[str, bool | int | float | str] = {"method": recipe.method, "members": len(modules)}
    facts |= {} if recipe.method == "linear" else {"density": recipe.density}
    facts |= {"seed": recipe.seed} if recipe.draws else {}
    return facts | ({"rank_holds": round(adapter.held, 6)} if adapter.spec.kind == "lora" else {})


def _record(
    modules: Sequence[TrainedModule],
    backbone: Backbone,
    facts: Mapping[str, bool | int | float | str],
    seconds: float,
) -> TrainingSpec:
    """What the members' training and the merge come to: rows that several members share count once."""
    runs = [module.training for module in modules]
    by_rows = {run.rows_sha256: run for run in runs}
    digests = sorted(by_rows)
    counts = zip(*(run.examples_per_class for run in by_rows.values()), strict=True)
    return TrainingSpec(
        preset=PRESET,
        examples_per_class=tuple(map(sum, counts)),
        rows_sha256=digests[0] if len(digests) == 1 else strict_json.canonical_sha256(digests),
        seeds=tuple(dict.fromkeys(seed for run in runs for seed in run.seeds)),
        steps=sum(run.steps for run in runs),
        seconds=round(sum(run.seconds for run in runs) + seconds, 3),
        peak_memory_bytes=max(peak_memory_bytes(backbone), *(run.peak_memory_bytes for run in runs)),
        hardware=" and ".join(dict.fromkeys(run.hardware for run in runs))[:_MOST_CHARACTERS],
        libraries={name: version(name) for name in ("torch", "transformers", "peft")},
        hyperparameters=dict(facts),
    )
