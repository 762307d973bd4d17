import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, MPNetConfig, MPNetForMaskedLM

from petapter import Backbone, train
from petapter.adaptation import AdaptationOptions, AdaptationRecord, Base, Texts, adapt
from petapter.adaptation.masking import Masking
from petapter.adaptation.minilm_parts import main, make_parts
from petapter.adaptation.pieces import gather_pieces
from petapter.minilm import merged_weight
from petapter_schemas.errors import BackboneError, InputError
from tests.petapter.conftest import QUICK as QUICK_TRAINING
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.tiny_backbones import ARCHITECTURES, FAMILIES, HEADLESS, bert_tokenizer

QUICK = AdaptationOptions(steps=5, rank=2, alpha=4.0, batch_size=8, piece_tokens=24, lr=0.02)


@pytest.fixture(scope="session")
def adapted(
    directories: dict[str, Path], corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, AdaptationRecord]]:
    """An adapted backbone of each family, made once."""
    made: dict[str, tuple[Path, AdaptationRecord]] = {}
    folder = tmp_path_factory.mktemp("adapted")

    def make(family: str) -> tuple[Path, AdaptationRecord]:
        if family not in made:
            out = folder / family
            made[family] = out, adapt(Base(directories[family]), Texts((corpus,)), out, QUICK)
        return made[family]

    return make


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_result_is_a_masked_lm_with_a_fingerprint_of_its_own(
    adapted: Callable[[str], tuple[Path, AdaptationRecord]], directories: dict[str, Path], family: str
) -> None:
    out, record = adapted(family)
    before, after = Backbone.load(directories[family], device="cpu"), Backbone.load(out, device="cpu")
    assert after.has_mlm_head
    assert before.has_mlm_head == (family not in HEADLESS) == record.base.had_mlm_head
    assert after.fingerprint == record.fingerprint
    assert after.fingerprint.weights_sha256 != before.fingerprint.weights_sha256
    assert after.fingerprint.tokenizer_sha256 == before.fingerprint.tokenizer_sha256
    assert after.fingerprint.architecture == before.fingerprint.architecture
    old_words, new_words = (cast("torch.Tensor", m.get_input_embeddings().weight) for m in (before.model, after.model))
    assert torch.equal(old_words, new_words)
    changed = [
        name
        for (name, old), new in zip(
            before.model.base_model.named_parameters(), after.model.base_model.parameters(), strict=True
        )
        if not torch.equal(old, new)
    ]
    if family in (*FAMILIES, "encoder"):
        assert len(changed) == 2 * 6  # every linear map of two layers
    assert changed
    assert not [name for name in changed if "norm" in name.lower() or not name.endswith("weight")]


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_transformers_alone_finds_the_recorded_loss(
    adapted: Callable[[str], tuple[Path, AdaptationRecord]], corpus: Path, tmp_path: Path, family: str
) -> None:
    out, record = adapted(family)
    model = AutoModelForMaskedLM.from_pretrained(out, local_files_only=True).eval()
    backbone = Backbone.load(out, device="cpu")
    held_out = gather_pieces(Texts((corpus,)).documents(), backbone.tokenizer, 24, tmp_path, seed=0).held_out
    masking, generator = Masking.of(backbone, 0.15), torch.Generator().manual_seed(0)
    rows = np.tile(held_out, (8, 1))  # so few pieces are measured eight times
    total, predictions = 0.0, 0
    for start in range(0, len(rows), 8):
        batch = masking.hide(rows[start : start + 8], generator)
        with torch.no_grad():
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        total += torch.nn.functional.cross_entropy(logits[batch.chosen], batch.targets, reduction="sum").item()
        predictions += len(batch.targets)
    assert record.held_out.predictions == predictions
    assert record.held_out.after == pytest.approx(total / predictions, abs=1e-5)


def test_an_adapted_encoder_carries_modules(adapted: Callable[[str], tuple[Path, AdaptationRecord]]) -> None:
    out, _ = adapted("encoder")
    trained = train(SENTIMENT, SENTIMENT_ROWS, Backbone.load(out, device="cpu"), QUICK_TRAINING)
    assert trained.head.init == "mlm"


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(
    adapted: Callable[[str], tuple[Path, AdaptationRecord]], directories: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    first, _ = adapted("encoder")
    torch.manual_seed(99)  # of no influence
    adapt(Base(directories["encoder"]), Texts((corpus,)), tmp_path / "again", QUICK)
    adapt(Base(directories["encoder"]), Texts((corpus,)), tmp_path / "other", replace(QUICK, seed=1))
    same = ("model.safetensors", "config.json", "tokenizer.json")
    assert [(first / name).read_bytes() for name in same] == [(tmp_path / "again" / name).read_bytes() for name in same]
    assert (first / same[0]).read_bytes() != (tmp_path / "other" / same[0]).read_bytes()


def test_provenance_names_base_texts_choices_and_result(
    adapted: Callable[[str], tuple[Path, AdaptationRecord]], directories: dict[str, Path], corpus: Path
) -> None:
    out, record = adapted("bert")
    stored = json.loads((out / "adaptation.json").read_bytes())
    assert stored == json.loads(json.dumps(record.values()))
    base = Backbone.load(directories["bert"], device="cpu").fingerprint
    assert stored["base"]["repo"] == "bert"
    assert stored["base"]["fingerprint"]["weights_sha256"] == base.weights_sha256
    content = corpus.read_bytes()
    assert stored["texts"] == [
        {"name": "corpus.txt", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    ]
    assert stored["facts"]["documents"] == 150
    assert stored["facts"]["words"] == len(content.split())
    assert (stored["steps"], stored["options"]["seed"], stored["options"]["lr"]) == (5, 0, 0.02)
    assert set(stored["libraries"]) == {"torch", "transformers", "peft", "petapter"}
    page = (out / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(content).hexdigest() in page
    assert "base_model" not in page  # a local directory is nothing that the Hub could link to
    assert oct(out.stat().st_mode & 0o777) == oct(0o755)
    assert {oct(path.stat().st_mode & 0o777) for path in out.iterdir()} == {oct(0o644)}


def test_head_only_leaves_the_encoder_as_published(directories: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    adapt(Base(directories["encoder"]), Texts((corpus,)), tmp_path / "out", replace(QUICK, rank=0))
    published = load_file(directories["encoder"] / "model.safetensors")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[f"bert.{name}"], value) for name, value in published.items())
    assert len(written) == len(published) + 5


def test_truncation_of_a_sentence_encoder_is_switched_off(
    directories: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(directories["encoder"], base)
    document = json.loads((base / "tokenizer.json").read_bytes())
    document["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (base / "tokenizer.json").write_text(json.dumps(document))
    record = adapt(Base(base), Texts((corpus,)), tmp_path / "out", QUICK)
    assert record.facts.tokens > 150 * 4
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")("the " * 9)["input_ids"]) == 11
    assert record.fingerprint.tokenizer_sha256 == record.base.fingerprint.tokenizer_sha256


def test_a_rise_of_the_held_out_loss_is_warned_of(
    directories: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(["question answer topic", *["great news"] * 49]) + "\n")
    options = AdaptationOptions(steps=40, lr=0.05, piece_tokens=16, batch_size=8)
    record = adapt(Base(directories["encoder"]), Texts((texts,)), tmp_path / "out", options)
    assert record.held_out.after > record.held_out.before
    assert "the backbone became worse for these texts" in caplog.text


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_what_is_broken_off_leaves_nothing(
    directories: dict[str, Path], corpus: Path, tmp_path: Path, failure: type[BaseException]
) -> None:
    def stop(_share: float, _loss: float) -> None:
        raise failure

    with pytest.raises(failure):
        adapt(Base(directories["bert"]), Texts((corpus,)), tmp_path / "out", QUICK, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_refused_before_anything_is_read(directories: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="out exists already"):
        adapt(Base(directories["bert"]), Texts((tmp_path / "missing.txt",)), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_refused_text_leaves_nothing(directories: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match="holds no text"):
        adapt(Base(directories["bert"]), Texts((tmp_path / "empty.txt",)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_a_target_below_a_file_is_refused(directories: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        adapt(Base(directories["bert"]), Texts((corpus,)), tmp_path / "file" / "out", QUICK)


def test_an_architecture_whose_head_is_unknown_is_refused(corpus: Path, tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    config = MPNetConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    MPNetForMaskedLM(config).save_pretrained(tmp_path / "mpnet")
    tokenizer.save_pretrained(tmp_path / "mpnet")
    with pytest.raises(BackboneError, match="head of a mpnet model is not known here: take a backbone of another"):
        adapt(Base(tmp_path / "mpnet"), Texts((corpus,)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mpnet"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_adapts_too(
    directories: dict[str, Path], corpus: Path, tmp_path: Path, precision: Literal["float32", "bfloat16"]
) -> None:
    options = replace(QUICK, steps=30, lr=0.01, precision=precision)
    record = adapt(Base(directories["encoder"]), Texts((corpus,)), tmp_path / "out", options)
    assert record.held_out.after < record.held_out.before
    assert Backbone.load(tmp_path / "out", device="cpu").fingerprint == record.fingerprint


def test_parts_merge_into_what_adapting_writes(
    adapted: Callable[[str], tuple[Path, AdaptationRecord]], directories: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    whole, _ = adapted("encoder")
    said = make_parts(directories["encoder"], Texts((corpus,)), tmp_path / "parts", QUICK)
    assert said.startswith("5 steps in ")
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        "adapter_model.safetensors",
        "mlm_head.safetensors",
    }
    factors = load_file(tmp_path / "parts" / "adapter_model.safetensors")
    expected, published = (
        load_file(whole / "model.safetensors"),
        load_file(directories["encoder"] / "model.safetensors"),
    )
    head = load_file(tmp_path / "parts" / "mlm_head.safetensors")
    assert set(head) == {f"cls.predictions.{name}" for name in (
        "bias", "transform.dense.weight", "transform.dense.bias", "transform.LayerNorm.weight",
        "transform.LayerNorm.bias",
    )}  # fmt: skip
    assert all(torch.equal(expected[name], value) for name, value in head.items())
    assert {value.dtype for value in factors.values()} == {torch.float16}
    assert len(factors) == 2 * 2 * 6
    layers = [name.removesuffix(".lora_A.weight") for name in factors if name.endswith(".lora_A.weight")]
    for layer in layers:
        name = layer.removeprefix("base_model.model.")
        merged = merged_weight(
            published[f"{name}.weight"], factors[f"{layer}.lora_A.weight"], factors[f"{layer}.lora_B.weight"], 2.0
        )
        assert torch.allclose(merged, expected[f"bert.{name}.weight"], atol=1e-3)  # float16 factors
        assert not torch.equal(merged, published[f"{name}.weight"])


def test_the_recipe_takes_the_published_encoder_only(
    directories: dict[str, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BackboneError):
        Backbone.load(tmp_path, device="cpu")
    code = main([str(corpus), "--encoder", str(directories["encoder"]), "--out", str(tmp_path / "parts")])
    assert code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
