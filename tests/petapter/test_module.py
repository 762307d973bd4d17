import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, open_module, save_module
from petapter.task import Encoder
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import BackboneMismatchError, InputError, ManifestError, ModuleError, TensorFileError
from petapter_schemas.manifest import MANIFEST_FILE, EvaluationSet, EvaluationSpec, HeadSpec, Interval, read_manifest
from petapter_schemas.module_files import verify_directory
from tests.petapter.conftest import BackboneOf

FILES = (
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "golden.json",
    "head.safetensors",
    "profile.json",
)
TEXTS = ("good game", "no price", "a")
LABEL_MAP = {"labels.weight": (3, 64), "labels.bias": (2, 3)}
"""Of 3 labels, 2 patterns and 2 pooled layers of 32."""
INFO = ModuleInfo("mood", version="1.2.0", description="Praise or complaint.", license="MIT", languages=("en",))


@pytest.fixture
def saved(sentiment: TrainedModule, tmp_path: Path) -> Path:
    save_module(sentiment, tmp_path / "mood", INFO)
    return tmp_path / "mood"


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def relist(directory: Path) -> None:
    """Write the true sizes and digests into the manifest, as an attacker would."""

    def listed(manifest: dict) -> None:
        for file in manifest["files"]:
            path = directory / file["path"]
            file |= {"size": path.stat().st_size, "sha256": sha256_file(path)}

    edit_json(directory / MANIFEST_FILE, listed)


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    relist(path.parent)


def probabilities(backbone: Backbone, module: Path | TrainedModule) -> list[dict[str, float]]:
    with Engine(backbone) as engine:
        engine.load(module, "m")
        return [answer.probabilities for answer in engine.predict([("m", text) for text in TEXTS])]


def test_saved_module_answers_exactly_as_the_trained_one(saved: Path, sentiment: TrainedModule, bert: Backbone) -> None:
    assert probabilities(bert, saved) == probabilities(bert, sentiment)


@pytest.mark.parametrize("name", ["sentiment", "topic", "head_only"])
def test_opened_module_is_the_one_that_was_saved(
    request: pytest.FixtureRequest, bert: Backbone, tmp_path: Path, name: str
) -> None:
    module: TrainedModule = request.getfixturevalue(name)
    save_module(module, tmp_path / "m", INFO)
    opened = open_module(tmp_path / "m", bert)
    for part in ("adapter_tensors", "head_tensors"):
        before, after = getattr(module, part), getattr(opened, part)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    without = {"adapter_tensors": {}, "head_tensors": {}}
    assert replace(opened, **without) == replace(module, **without)


def test_saved_directory_is_valid_and_holds_what_the_format_names(saved: Path) -> None:
    verify_directory(saved)
    assert {path.name for path in saved.iterdir()} == {MANIFEST_FILE, *FILES}


def test_head_only_module_has_no_adapter_files(head_only: TrainedModule, tmp_path: Path) -> None:
    save_module(head_only, tmp_path / "m", INFO)
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        MANIFEST_FILE,
        "README.md",
        "golden.json",
        "head.safetensors",
        "profile.json",
    }


def test_manifest_holds_what_the_author_says_and_what_was_measured(sentiment: TrainedModule, tmp_path: Path) -> None:
    figure = EvaluationSpec(
        metric="accuracy",
        value=0.9,
        interval=Interval(low=0.8, high=1.0),
        evaluation_set=EvaluationSet(name="held-out", sha256="0" * 64, split="test", n=10),
        seeds=(0,),
    )
    written = save_module(sentiment, tmp_path / "m", INFO, evaluation=(figure,))
    assert read_manifest(tmp_path / "m") == written
    assert (written.name, written.version, written.license, written.languages) == ("mood", "1.2.0", "MIT", ("en",))
    assert written.evaluation == (figure,)


def test_saving_the_same_module_twice_gives_the_same_bytes(sentiment: TrainedModule, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_module(sentiment, tmp_path / name, INFO)
    for file in (MANIFEST_FILE, *FILES):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_existing_empty_directory_is_filled(sentiment: TrainedModule, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    save_module(sentiment, tmp_path / "m", INFO)
    verify_directory(tmp_path / "m")


def test_missing_parents_are_made(sentiment: TrainedModule, tmp_path: Path) -> None:
    save_module(sentiment, tmp_path / "a" / "b", INFO)
    verify_directory(tmp_path / "a" / "b")


def test_directory_with_something_in_it_is_left_alone(sentiment: TrainedModule, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        save_module(sentiment, tmp_path / "m", INFO)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["m", "m/mine.txt"]


def test_file_of_that_name_is_left_alone(sentiment: TrainedModule, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("keep", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        save_module(sentiment, tmp_path / "m", INFO)
    assert (tmp_path / "m").read_text(encoding="utf-8") == "keep"


@pytest.mark.parametrize(
    "info",
    [
        ModuleInfo("not a name"),
        ModuleInfo("m", version="one"),
        ModuleInfo("m", languages=("English",)),
        ModuleInfo("m", license="no licence!"),
        ModuleInfo("m", description="hidden\u202etext"),
    ],
    ids=["name", "version", "language", "license", "description"],
)
def test_facts_that_break_the_format_are_refused_before_anything_is_written(
    sentiment: TrainedModule, tmp_path: Path, info: ModuleInfo
) -> None:
    with pytest.raises(InputError) as refusal:
        save_module(sentiment, tmp_path / "m", info)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_save_that_fails_leaves_nothing_behind(sentiment: TrainedModule, tmp_path: Path) -> None:
    wrong = replace(sentiment, head_tensors={"rows.weight": torch.zeros(1, 1)})
    with pytest.raises(TensorFileError):
        save_module(wrong, tmp_path / "m", INFO)
    assert list(tmp_path.iterdir()) == []


def test_adapter_under_the_untouched_masked_lm_head_has_no_head_file(
    sentiment: TrainedModule, bert: Backbone, directories: dict[str, Path], tmp_path: Path
) -> None:
    # reference: the logits of transformers' masked LM at the mask with the adapter as peft opens it, text by text
    head = sentiment.head.model_copy(update={"parts": (), "parameters": 0})
    save_module(replace(sentiment, head=head, head_tensors={}), tmp_path / "m", INFO)
    assert not (tmp_path / "m" / "head.safetensors").exists()
    assert open_module(tmp_path / "m", bert).head_tensors == {}
    adapted = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(directories["bert"]), tmp_path / "m")
    adapted.eval()
    for text, answer in zip(TEXTS, probabilities(bert, tmp_path / "m"), strict=True):
        inputs = bert.tokenizer(f"{text} It was [MASK].", return_tensors="pt")
        place = inputs.input_ids[0] == bert.tokenizer.mask_token_id
        with torch.no_grad():
            logits = adapted(**inputs).logits[0, place]
        (great,), (awful,), (bad,) = (ids for label in sentiment.backbone.verbalizer_ids for ids in label)
        pos, neg = float(logits[0, great]), float((logits[0, awful] + logits[0, bad]) / 2)
        expected = torch.tensor([pos, neg]).softmax(dim=0).tolist()
        assert [answer["pos"], answer["neg"]] == pytest.approx(expected, abs=1e-5)
    assert probabilities(bert, tmp_path / "m") != probabilities(bert, sentiment)


@pytest.fixture
def pooled(topic: TrainedModule) -> TrainedModule:
    """A label map of pooled hidden states without words and adapter; its golden outputs are not its own."""
    head = HeadSpec(
        reads="mean-pool", pool_layers=(2, 1), words=0.0, init="random", parts=("labels",), activation="gelu",
        norm="none", parameters=3 * 64 + 2 * 3,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(*shape, generator=draw) for name, shape in LABEL_MAP.items()}
    none = {"adapter": AdapterSpec(kind="none", parameters=0), "adapter_config": None, "adapter_tensors": {}}
    return replace(topic, head=head, head_tensors=tensors, **none)


def test_label_map_of_pools_is_saved_opened_and_scored_as_the_format_says(
    pooled: TrainedModule, bert: Backbone, tmp_path: Path
) -> None:
    # reference: schemas/README.md, "Scores", from transformers' hidden states, one text and pattern at a time
    save_module(pooled, tmp_path / "m", INFO)
    fields = [{"title": "the match", "body": "a goal in the game"}, {"title": "bank", "body": "price of money"}]
    with Engine(bert) as engine:
        engine.load(tmp_path / "m", "m")
        answers = engine.predict([("m", text) for text in fields])
    weight, bias = (pooled.head_tensors[name] for name in LABEL_MAP)
    for text, answer in zip(fields, answers, strict=True):
        total = torch.zeros(3)
        for index, pattern in enumerate(pooled.task.patterns):
            item = Encoder(bert.tokenizer, pattern, 64).encode([text])[0]
            states = bert.model(torch.tensor([item.input_ids]), output_hidden_states=True).hidden_states
            pools = [states[layer][0, list(item.text_positions)].sum(dim=0) for layer in (2, 1)]
            read = torch.cat([pool / pool.norm() for pool in pools])
            total += (weight @ read + bias[index]).log_softmax(dim=0)
        expected = (total / 2).softmax(dim=0).tolist()
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [1, 16, 64])
def test_manifest_of_another_hidden_size_is_refused(
    head_only: TrainedModule, bert: Backbone, tmp_path: Path, size: int
) -> None:
    # one number per row would otherwise be taken for a whole row of equal ones
    save_module(head_only, tmp_path / "m", INFO)
    save_file({"rows.weight": torch.ones(3, size), "rows.bias": torch.ones(3)}, tmp_path / "m" / "head.safetensors")

    def claimed(manifest: dict) -> None:
        manifest["backbone"]["hidden_size"] = size
        manifest["head"]["parameters"] = 3 * (size + 1)

    edit_json(tmp_path / "m" / MANIFEST_FILE, claimed)
    relist(tmp_path / "m")
    with pytest.raises(BackboneMismatchError, match="with another hidden size than"):
        open_module(tmp_path / "m", bert)


@pytest.mark.parametrize("part", ["head_tensors", "adapter_tensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_not_saved(
    sentiment: TrainedModule, tmp_path: Path, part: str, value: float
) -> None:
    tensors = {name: tensor.clone() for name, tensor in getattr(sentiment, part).items()}
    name, last = list(tensors.items())[-1]
    last.view(-1)[-1] = value
    with pytest.raises(InputError, match=f"{re.escape(name)} holds NaN or infinity") as refusal:
        save_module(replace(sentiment, **{part: tensors}), tmp_path / "m", INFO)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [MANIFEST_FILE, *FILES])
@pytest.mark.parametrize("place", ["begin", "middle", "end"])
def test_flipped_bit_in_any_file_is_refused(saved: Path, bert: Backbone, file: str, place: str) -> None:
    data = bytearray((saved / file).read_bytes())
    offset = {"begin": 0, "middle": len(data) // 2, "end": len(data) - 1}[place]
    data[offset] ^= 0x80
    (saved / file).write_bytes(data)
    with pytest.raises(ModuleError):
        open_module(saved, bert)


@pytest.mark.parametrize("file", [MANIFEST_FILE, *FILES])
def test_missing_file_is_refused(saved: Path, bert: Backbone, file: str) -> None:
    (saved / file).unlink()
    with pytest.raises(ManifestError):
        open_module(saved, bert)


@pytest.mark.parametrize("file", [MANIFEST_FILE, *FILES])
def test_linked_file_is_refused(saved: Path, bert: Backbone, tmp_path: Path, file: str) -> None:
    shutil.move(saved / file, tmp_path / "elsewhere")
    (saved / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManifestError):
        open_module(saved, bert)


def test_head_of_another_module_is_refused(saved: Path, topic: TrainedModule, bert: Backbone, tmp_path: Path) -> None:
    save_module(topic, tmp_path / "topic", INFO)
    shutil.copy(tmp_path / "topic" / "head.safetensors", saved / "head.safetensors")
    with pytest.raises(ModuleError, match=r"head\.safetensors was changed"):
        open_module(saved, bert)
    relist(saved)
    with pytest.raises(TensorFileError, match="the manifest asks for"):
        open_module(saved, bert)


@pytest.mark.parametrize("file", ["head.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(saved: Path, bert: Backbone, file: str, value: float) -> None:
    edit_tensors(saved / file, lambda tensors: next(iter(tensors.values())).view(-1)[0].fill_(value))
    with pytest.raises(TensorFileError, match="NaN or infinity"):
        open_module(saved, bert)


def test_listed_extra_weights_are_refused(saved: Path, bert: Backbone) -> None:
    shutil.copy(saved / "head.safetensors", saved / "model.safetensors")
    extra = {"path": "model.safetensors", "size": 0, "sha256": "0" * 64}
    edit_json(saved / MANIFEST_FILE, lambda manifest: manifest["files"].append(extra))
    relist(saved)
    with pytest.raises(ManifestError, match=r"model\.safetensors is no weight file"):
        open_module(saved, bert)


def test_unlisted_extra_weights_are_never_read(saved: Path, sentiment: TrainedModule, bert: Backbone) -> None:
    (saved / "model.safetensors").write_bytes(b"not even a header")
    assert probabilities(bert, saved) == probabilities(bert, sentiment)


@pytest.mark.parametrize("field", ["use_dora", "use_rslora", "fan_in_fan_out"])
def test_configuration_under_which_peft_computes_something_else_is_refused(
    saved: Path, bert: Backbone, field: str
) -> None:
    edit_json(saved / "adapter_config.json", lambda config: config.update({field: True}))
    relist(saved)
    with pytest.raises(ManifestError, match=field):
        open_module(saved, bert)


def test_other_token_ids_for_the_words_are_refused(saved: Path, bert: Backbone) -> None:
    def swap(manifest: dict) -> None:
        manifest["backbone"]["verbalizer_ids"].reverse()
        for label in manifest["task"]["labels"]:
            label["words"] = ["bad", "awful"] if label["name"] == "pos" else ["great"]

    edit_json(saved / MANIFEST_FILE, swap)
    with pytest.raises(BackboneMismatchError, match="reading of the label words"):
        open_module(saved, bert)


def test_module_of_another_backbone_is_refused(saved: Path, backbone_of: BackboneOf) -> None:
    with pytest.raises(BackboneMismatchError, match="with another set of weights than"):
        open_module(saved, backbone_of("other-bert"))


def test_module_of_another_architecture_is_refused(saved: Path, backbone_of: BackboneOf) -> None:
    with pytest.raises(BackboneMismatchError, match="with another architecture than"):
        open_module(saved, backbone_of("distilbert"))


def test_changed_tokenizer_is_refused(saved: Path, directories: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(directories["bert"], tmp_path / "bert")
    edit_json(folder / "tokenizer.json", lambda document: document["normalizer"].update({"lowercase": False}))
    with pytest.raises(BackboneMismatchError, match="with another tokenizer than"):
        open_module(saved, Backbone.load(folder, device="cpu"))


def test_refused_module_leaves_engine_and_backbone_as_they_were(saved: Path, bert: Backbone) -> None:
    (saved / "head.safetensors").write_bytes(b"")
    with Engine(bert) as engine:
        with pytest.raises(ModuleError):
            engine.load(saved, "m")
        assert engine.aliases == ()
        assert not [name for name, _ in bert.model.named_modules() if "lora" in name]


def test_directory_without_a_manifest_is_refused(tmp_path: Path, bert: Backbone) -> None:
    with pytest.raises(ManifestError, match="is no module directory"):
        open_module(tmp_path, bert)
