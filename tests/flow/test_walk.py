"""The whole walk with real parts: a server process, the command line, `hf`, peft and the real backbone."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForMaskedLM

from petapter.backbone import Backbone
from petapter.runtime import Engine
from petapter_schemas.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from petapter_schemas.manifest import read_manifest
from tests.registry_process import Server

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
TEXT = "book a table for two at an italian place tonight"


@pytest.fixture(scope="module")
def published(petapter: Run, trained: Path) -> str:
    petapter("push", trained, "team/snips")
    return "team/snips"


def test_forty_steps_on_seventy_texts_beat_the_majority_by_far(trained: Path) -> None:
    accuracy = read_manifest(trained).evaluation[0]
    assert (accuracy.metric, accuracy.evaluation_set.n) == ("accuracy", 700)
    assert accuracy.interval.low > 0.7  # the most frequent of seven labels has 18 %


def test_evaluate_finds_the_figures_of_the_manifest(petapter: Run, trained: Path) -> None:
    rows = Path(__file__).parents[2] / "hub_client/petapter_hub_client/demo/data/snips/test.csv"
    found = petapter("evaluate", trained, rows, "--set-name", "snips", "--json").stdout
    declared = [entry.model_dump(mode="json") for entry in read_manifest(trained).evaluation]
    assert declared[0]["value"] == pytest.approx(json.loads(found)[0]["value"])


def test_a_pushed_module_is_found_by_its_label(petapter: Run, published: str) -> None:
    assert published in petapter("search", "--label", "GetWeather", "--json").stdout


def test_a_pulled_module_answers_as_the_trained_one(petapter: Run, published: str, trained: Path) -> None:
    local = petapter("predict", "--module", trained, TEXT, "--json").stdout
    remote = petapter("predict", "--module", published, TEXT, "--check", "--json").stdout
    ours, theirs = (json.loads(text)[0]["predictions"][0] for text in (local, remote))
    assert ours["label"] == theirs["label"] == "BookRestaurant"
    assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)


def test_hf_download_brings_the_same_bytes(
    run: Run, published: str, trained: Path, hub_environment: dict[str, str], tmp_path: Path
) -> None:
    run("hf", "download", published, "--local-dir", tmp_path / "copy", env=hub_environment)
    for file in trained.iterdir():
        assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes()


def test_hf_upload_of_a_module_is_validated_and_accepted(
    run: Run, trained: Path, petapter: Run, hub_environment: dict[str, str]
) -> None:
    run("hf", "upload", "team/by-hf", trained, ".", env=hub_environment)
    assert json.loads(petapter("pull", "team/by-hf", "--json").stdout)


def test_hf_upload_of_a_tampered_module_is_refused_and_leaves_nothing(
    run: Run, petapter: Run, trained: Path, hub_environment: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in trained.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = bytearray((broken / "head.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "head.safetensors").write_bytes(weights)
    refused = run("hf", "upload", "team/broken", broken, ".", env=hub_environment, code=1)
    assert "head.safetensors was changed" in refused.stdout + refused.stderr
    assert "team/broken" not in petapter("search", "--json").stdout


PEFT_SCRIPT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForMaskedLM, AutoTokenizer
base = AutoModelForMaskedLM.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(base, sys.argv[2]).eval()
ids = AutoTokenizer.from_pretrained(sys.argv[1])("[MASK] request: " + sys.argv[3], return_tensors="pt")
with torch.no_grad():
    hidden = base.bert(**ids).last_hidden_state[0, 1]
torch.set_printoptions(precision=8)
print(" ".join(f"{value:.7f}" for value in hidden.tolist()))
"""


def test_peft_loads_the_module_by_its_name_and_computes_the_same_hidden_states(
    run: Run, published: str, trained: Path, minilm: Path, hub_environment: dict[str, str]
) -> None:
    done = run("python", "-c", PEFT_SCRIPT, minilm, published, TEXT, env=hub_environment)
    by_name = torch.tensor([float(value) for value in done.stdout.split()])
    local = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(minilm), str(trained)).eval()
    backbone = Backbone.load(minilm, device="cpu")
    ids = backbone.tokenizer(f"[MASK] request: {TEXT}", return_tensors="pt")
    with torch.no_grad():
        expected = local.base_model.model.bert(**ids).last_hidden_state[0, 1]
        bare = backbone.model.base_model(**ids).last_hidden_state[0, 1]
    assert torch.allclose(by_name, expected, atol=1e-5)
    assert not torch.allclose(by_name, bare, atol=1e-2)


def test_the_python_api_holds_two_modules_on_one_backbone(trained: Path, minilm: Path) -> None:
    with Engine(Backbone.load(minilm, device="cpu")) as engine:
        engine.load(trained, "first", check=True)
        engine.load(trained, "second")
        first, second = engine.predict([("first", TEXT), ("second", TEXT)])
    assert first.label == "BookRestaurant"
    assert first.probabilities == second.probabilities


def test_the_server_log_names_the_module_but_no_token(registry: Server, token: str, published: str) -> None:
    assert published in registry.log
    assert "ppt_" not in registry.log
    assert token not in registry.log


def test_the_built_in_backbone_is_the_same_on_every_machine(minilm: Path) -> None:
    """Modules are bound to these digests, so a build that differs in one bit would refuse everybody else's modules."""
    assert config_sha256(minilm / "config.json")[:16] == "bdfc0d82bc05aeaa"
    assert tokenizer_sha256(minilm / "tokenizer.json")[:16] == "be31104b6f249992"
    assert weights_sha256(minilm)[:16] == "e222b88a8bf774e8"
