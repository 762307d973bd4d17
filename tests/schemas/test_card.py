import json
import math
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.card import render_card
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import (
    CalibrationSpec,
    EvaluationSet,
    Interval,
    LineageSpec,
    Manifest,
    ReliabilityBin,
    manifest_bytes,
    parse_manifest,
)
from tests.schemas.tiny_module import tiny_manifest

_MARKUP = "---\n# x | <script>alert(1)</script> `code` [a](javascript:1) **b** &amp; \\| ```\n\n---\nkey: 1"


def _changed(manifest: Manifest, **changes: object) -> Manifest:
    """A changed copy, read again so that it is one a file could hold."""
    return parse_manifest(manifest_bytes(manifest.model_copy(update=changes)))


def _head(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    value: dict[str, Any] = yaml.safe_load(card.split("\n---\n", 1)[0].removeprefix("---\n"))
    return value


def _body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_metadata_is_what_the_hub_indexes() -> None:
    assert _head(render_card(tiny_manifest(labels=("Card_Arrival", "é"))))["tags"] == [
        "petapter",
        "few-shot",
        "adapter:lora",
        "label:card arrival",
        "label:é",
        "backbone:9a129038d9a00aed",
    ]
    head = _head(render_card(tiny_manifest()))
    del head["tags"], head["model-index"]
    assert head == {
        "library_name": "peft",
        "pipeline_tag": "text-classification",
        "base_model": "acme/tiny-bert",
        "base_model_relation": "adapter",
        "license": "apache-2.0",
        "language": ["en"],
    }


def test_hub_library_reads_the_metrics() -> None:
    data = ModelCard(render_card(tiny_manifest())).data
    (result,) = data.eval_results
    assert data.model_name == "tiny"
    assert (result.task_type, result.metric_type, result.metric_value) == ("text-classification", "accuracy", 0.75)
    assert (result.dataset_name, result.dataset_type, result.dataset_split) == ("held-out", "held-out", "test")
    assert result.dataset_revision == tiny_manifest().evaluation[0].evaluation_set.sha256


def test_metrics_of_one_set_stand_together() -> None:
    manifest = tiny_manifest()
    accuracy = manifest.evaluation[0]
    other_set = EvaluationSet(name="other", sha256="1" * 64, split="test", n=3)
    evaluation = (
        accuracy,
        accuracy.model_copy(update={"evaluation_set": other_set}),
        accuracy.model_copy(update={"metric": "macro-f1"}),
    )
    results = _head(render_card(_changed(manifest, evaluation=evaluation)))["model-index"][0]["results"]
    assert [[metric["type"] for metric in result["metrics"]] for result in results] == [
        ["accuracy", "macro-f1"],
        ["accuracy"],
    ]
    assert len(ModelCard(render_card(_changed(manifest, evaluation=evaluation))).data.eval_results) == 3


def test_built_in_backbone_has_its_published_name() -> None:
    backbone = tiny_manifest().backbone.model_copy(update={"repo": "minilm"})
    assert _head(render_card(_changed(tiny_manifest(), backbone=backbone)))["base_model"] == (
        "sentence-transformers/all-MiniLM-L6-v2"
    )


@pytest.mark.parametrize("repo", ["/home/me/model", "../model", "a/b/c", "my model", "C:\\model"])
def test_backbone_that_is_no_repository_is_left_out(repo: str) -> None:
    backbone = tiny_manifest().backbone.model_copy(update={"repo": repo})
    assert "base_model" not in _head(render_card(_changed(tiny_manifest(), backbone=backbone)))


def test_module_without_adapter_is_petapters_own() -> None:
    card = render_card(_changed(tiny_manifest(), adapter=AdapterSpec(kind="none", parameters=0)))
    assert _head(card)["library_name"] == "petapter"
    assert "adapter:none" in _head(card)["tags"]


def test_head_of_the_backbone_alone_is_not_called_trained() -> None:
    bare = tiny_manifest().head.model_copy(update={"parts": (), "parameters": 0})
    card = render_card(_changed(tiny_manifest(), head=bare))
    assert "a lora adapter and the backbone's own head for the frozen backbone" in card
    assert "a lora adapter and a trained head for" in render_card(tiny_manifest())


def test_module_without_rows_and_steps_has_no_trained_head_and_says_whence_it_knows_its_labels() -> None:
    manifest = tiny_manifest()
    told = "No labelled row had a part in it"
    assert told not in render_card(manifest)
    none = manifest.training.model_copy(update={"examples_per_class": (0, 0), "steps": 0, "seeds": ()})
    card = render_card(_changed(manifest, training=none))
    assert "the backbone's own head for the frozen backbone" in card
    assert told in card
    distilled = none.model_copy(update={"steps": 80})
    assert "a trained head" in render_card(_changed(manifest, training=distilled))


def test_nothing_is_said_that_is_not_known() -> None:
    head = _head(render_card(_changed(tiny_manifest(), license=None, languages=(), evaluation=())))
    assert not {"license", "language", "model-index"} & head.keys()


def test_licence_the_hub_does_not_know_is_named_as_other() -> None:
    head = _head(render_card(_changed(tiny_manifest(), license="LicenseRef-Acme")))
    assert (head["license"], head["license_name"]) == ("other", "licenseref-acme")


def test_languages_are_those_the_hub_knows() -> None:
    head = _head(render_card(_changed(tiny_manifest(), languages=("pt-BR", "pt", "no"))))
    assert head["language"] == ["pt", "no"]  # and "no" is not False


@pytest.mark.parametrize("value", [1e-05, 1e22, 0.1, 1.0, -2.5e-300, math.pi, 123456789.0])
def test_numbers_stay_numbers_in_yaml(value: float) -> None:
    evaluation = (tiny_manifest().evaluation[0].model_copy(update={"value": value}),)
    results = _head(render_card(_changed(tiny_manifest(), evaluation=evaluation)))["model-index"][0]["results"]
    assert results[0]["metrics"][0]["value"] == value


@pytest.mark.parametrize(
    "label",
    ["yes", "NO", "null", "1e3", "a: b", "# c", "'", '"', "\\", "{x}", "[x]", "- x", "😀", "&a", "*a", "%x", "@x", "!x",
     "---", "🏴"],
)  # fmt: skip
def test_label_tags_survive_yaml(label: str) -> None:
    tags = _head(render_card(tiny_manifest(labels=(label, "other"))))["tags"]
    assert tags[3].removeprefix("label:") in {label.casefold(), label.casefold().strip("- ")}


def _hostile() -> Manifest:
    manifest = tiny_manifest()
    line = " ".join(_MARKUP.split())
    words = {"words": (line[:90],), "description": _MARKUP}
    label = manifest.task.labels[0].model_copy(update={"name": line[:200], **words})
    pattern = manifest.task.patterns[0].model_copy(update={"template": _MARKUP + " {text} {mask}"})
    task = manifest.task.model_copy(update={"labels": (label, manifest.task.labels[1]), "patterns": (pattern,)})
    rows = EvaluationSet(name=line, sha256="1" * 64, split=line, n=3)
    evaluation = manifest.evaluation[0].model_copy(
        update={"metric": line, "evaluation_set": rows, "interval": Interval(low=0, high=1, method=line)}
    )
    training = manifest.training.model_copy(update={"hardware": line, "preset": line, "libraries": {line: line}})
    return _changed(
        manifest,
        description=_MARKUP,
        task=task,
        evaluation=(evaluation,),
        training=training,
        backbone=manifest.backbone.model_copy(update={"repo": line}),
        lineage=LineageSpec(trained_from=(line,)),
    )


def test_user_text_is_no_markup() -> None:
    card = render_card(_hostile())
    head = _head(card)
    assert "key" not in head
    assert head["tags"][0] == "petapter"
    prose = _body(card)
    for begin in ("```sh\n", "```python\n"):
        before, _, rest = prose.partition(begin)
        prose = before + rest.partition("```\n")[2]
    prose = prose.replace("[petapter](https://arxiv.org/abs/2412.04975)", "").replace("`9a129038d9a00aed`", "")
    assert not set("<>`[]") & set(prose)
    assert prose.count("\\") == 2  # before the dashes that begin both paragraphs
    assert "javascript" in prose
    for line in prose.splitlines():
        assert not line.startswith(("---", "# x", "key"))
        if line.startswith("|"):
            assert line.count("|") in {3, 4, 9}


def test_every_row_of_a_table_has_as_many_cells_as_its_header() -> None:
    tables = [block.splitlines() for block in _body(render_card(_hostile())).split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for header, *rows in tables:
        assert {row.count("|") for row in rows} == {header.count("|")}


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("# Title", "\\# Title"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("===", "\\==="),
        ("a\n---\nb", "a --- b"),
        ("    code", "code"),
        ("snake_case and _it_", "snake_case and &#95;it&#95;"),
    ],
)
def test_description_stays_prose(description: str, shown: str) -> None:
    assert f"\n\n{shown}\n\n" in render_card(_changed(tiny_manifest(), description=description))


def test_examples_use_the_reference() -> None:
    card = render_card(tiny_manifest(), reference="lab:team/tiny@v1.0.0")
    assert "petapter pull lab:team/tiny@v1.0.0" in card
    assert "petapter predict --module lab:team/tiny@v1.0.0" in card


@pytest.mark.parametrize("reference", ["team", "a/b; rm -rf /", "a/b\n```", "a/b`x`", ""])
def test_reference_that_is_none_is_refused(reference: str) -> None:
    with pytest.raises(InputError):
        render_card(tiny_manifest(), reference=reference)


def test_python_example_is_python() -> None:
    task = tiny_manifest().task.model_copy(update={"fields": ("text", "title")})
    for manifest in (tiny_manifest(), tiny_manifest().model_copy(update={"task": task})):
        for reference in (None, "team/tiny"):
            example = render_card(manifest, reference=reference).split("```python\n")[1].split("```")[0]
            compile(example, "card", "exec")


def test_uncalibrated_probabilities_are_called_so() -> None:
    assert "probabilities are not calibrated" in render_card(tiny_manifest())
    calibration = CalibrationSpec(temperature=1.5, abstain_below=0.4, abstain_error_rate=0.05)
    card = render_card(_changed(tiny_manifest(), calibration=calibration))
    assert "not calibrated" not in card
    assert "below a probability of 0.4, so that at most 5 % of texts like its own get a wrong one." in card


def test_thresholds_of_a_multi_label_module_are_told_and_are_no_calibration() -> None:
    task = tiny_manifest().task.model_copy(update={"type": "multi-label"})
    for thresholds, told in (((0.31, 0.62), "0.31 to 0.62"), ((0.5, 0.5), "0.5")):
        manifest = _changed(tiny_manifest(), task=task, calibration=CalibrationSpec(thresholds=thresholds))
        card = render_card(manifest)
        assert f"every label whose probability reaches that label's threshold, {told}." in card
        assert "probabilities are not calibrated" in card
        assert "temperature" not in card


def test_metrics_of_probabilities_are_explained_and_only_those() -> None:
    manifest = tiny_manifest()
    accuracy = manifest.evaluation[0]
    brier = accuracy.model_copy(update={"metric": "brier"})
    card = render_card(_changed(manifest, evaluation=(accuracy, brier)))
    assert "\n- *brier*: squared distance" in card
    assert "*aurc*" not in card
    assert "*brier*" not in render_card(manifest)


def _reliability_rows(bins: int) -> list[str]:
    manifest = tiny_manifest()
    reliability = tuple(ReliabilityBin(confidence=(i + 1) / bins, accuracy=i / bins) for i in range(bins))
    ece = manifest.evaluation[0].model_copy(update={"metric": "ece", "reliability": reliability})
    card = render_card(_changed(manifest, evaluation=(ece,)))
    return card.split("share that is right |\n| --- | --- |\n")[1].split("\n\n")[0].splitlines()


def test_reliability_is_shown_in_five_equal_parts() -> None:
    # three bins each: means of 1, 2, 3 fifteenths, of 4, 5, 6 and so on
    assert _reliability_rows(15) == [
        "| 0.13 | 0.07 |",
        "| 0.33 | 0.27 |",
        "| 0.53 | 0.47 |",
        "| 0.73 | 0.67 |",
        "| 0.93 | 0.87 |",
    ]


@pytest.mark.parametrize(("bins", "shown"), [(1, 1), (4, 4), (7, 5)])
def test_reliability_of_few_bins_is_shown_in_as_many_parts(bins: int, shown: int) -> None:
    assert len(_reliability_rows(bins)) == shown


def test_figures_are_shown_with_all_that_belongs_to_them() -> None:
    card = render_card(tiny_manifest())
    assert (
        "| accuracy | 0.75 | 0.5 to 0.9 (95 %, bootstrap) | held-out (sha256 6ee0eb490ff8) | test | 20 | 0 | declared |"
        in card
    )


def test_card_of_many_labels_says_how_many_it_leaves_out() -> None:
    manifest = tiny_manifest(labels=[f"label number {i} " + "x" * 100 for i in range(700)])
    card = render_card(manifest)
    assert len(card.encode()) < 256 * 1024
    assert "more in petapter.json" in card


def test_card_does_not_depend_on_the_list_of_files() -> None:
    manifest = tiny_manifest()
    listed = manifest.model_validate_json(
        json.dumps({**json.loads(manifest_bytes(manifest)), "files": [{"path": "x.md", "size": 1, "sha256": "0" * 64}]})
    )
    assert render_card(manifest) == render_card(listed)
