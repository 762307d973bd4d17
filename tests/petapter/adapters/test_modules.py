from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForMaskedLM

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, TrainingOptions, save_module, train
from petapter.adapters import AdapterChoice
from petapter.backbone import read_hidden
from petapter.head import restore_head
from petapter.task import Encoder, pad_batch
from petapter_schemas.errors import BackboneError
from petapter_schemas.manifest import read_manifest
from tests.petapter.adapters.kinds import CHOICES, adapted
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.runtime.conftest import assert_same

_CHOICES = CHOICES | {"none": AdapterChoice(kind="none"), "top": AdapterChoice(kind="ia3", layers=(1,))}
_TEXTS = ["the match was very good", "no business in that market", "a fine game"]


@pytest.fixture(scope="module")
def trained(bert: Backbone) -> dict[str, TrainedModule]:
    """A module of every kind, its adapter far from where it began."""
    return {
        name: train(
            SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=8, batch_size=4, adapter_lr=0.05, adapter=choice)
        )
        for name, choice in _CHOICES.items()
    }


@pytest.fixture(scope="module")
def saved(trained: dict[str, TrainedModule], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("modules")
    for name, module in trained.items():
        save_module(module, folder / name, ModuleInfo(name))
    return {name: folder / name for name in trained}


@pytest.fixture
def engine(bert: Backbone) -> Iterator[Engine]:
    with Engine(bert) as engine:
        yield engine


@pytest.mark.parametrize("name", _CHOICES)
def test_trained_module_is_described_saved_and_reproduced(
    saved: dict[str, Path], trained: dict[str, TrainedModule], engine: Engine, name: str
) -> None:
    manifest = read_manifest(saved[name])
    assert manifest.adapter == trained[name].adapter
    assert manifest.adapter.kind == _CHOICES[name].kind
    assert manifest.training.hyperparameters["adapter"] == _CHOICES[name].kind
    engine.load(saved[name], name, check=True)


@pytest.mark.parametrize("name", CHOICES)
def test_training_moves_the_adapter(trained: dict[str, TrainedModule], bert: Backbone, name: str) -> None:
    with adapted(bert.model, CHOICES[name], seed=None) as new:
        moved = {key for key, tensor in trained[name].adapter_tensors.items() if not torch.equal(tensor, new[key])}
    assert moved == set(new)


def test_modules_of_all_kinds_together_answer_as_each_alone(saved: dict[str, Path], bert: Backbone) -> None:
    alone = {}
    for name, directory in saved.items():
        with Engine(bert) as single:
            single.load(directory, name)
            alone[name] = single.predict([(name, text) for text in _TEXTS])
    with Engine(bert) as engine:
        for name, directory in saved.items():
            engine.load(directory, name)
        mixed = engine.predict([(name, text) for text in _TEXTS for name in saved])
        for name in saved:
            assert_same([answer for answer in mixed if answer.alias == name], alone[name])
        assert len({str(answers[0].probabilities) for answers in alone.values()}) == len(saved)
        engine.unload("houlsby")
        assert_same(engine.predict([("pfeiffer", text) for text in _TEXTS]), alone["pfeiffer"])


@pytest.mark.parametrize("name", CHOICES)
def test_peft_opens_a_module_of_each_kind(
    saved: dict[str, Path], trained: dict[str, TrainedModule], bert: Backbone, directories: dict[str, Path], name: str
) -> None:
    # reference: peft.PeftModel.from_pretrained on a model that petapter never touched, under the module's head
    module = trained[name]
    fresh = AutoModelForMaskedLM.from_pretrained(directories["bert"]).eval()
    head = restore_head(bert, module.verbalizer, module.head, 1, module.head_tensors)
    encoded = Encoder(bert.tokenizer, SENTIMENT.patterns[0], bert.max_tokens).encode([{"text": t} for t in _TEXTS])
    batch = pad_batch(encoded, bert.pad_id)

    def said() -> Tensor:
        with torch.no_grad():
            states = fresh.base_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
            return torch.softmax(head(read_hidden(batch, states, ())), dim=-1)

    bare = said()
    PeftModel.from_pretrained(fresh, saved[name]).eval()
    theirs = said()
    with Engine(bert) as engine:
        engine.load(module, "it")
        answers = engine.predict([("it", text) for text in _TEXTS])
    ours = torch.tensor([list(answer.probabilities.values()) for answer in answers])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert float((ours - bare).abs().max()) > 1e-3


def test_adapter_whose_description_does_not_fit_is_refused(engine: Engine, trained: dict[str, TrainedModule]) -> None:
    module = trained["houlsby"]
    wrong = replace(module, adapter=module.adapter.model_copy(update={"placement": "pfeiffer"}))
    with pytest.raises(BackboneError, match="not those of placement 'pfeiffer'"):
        engine.load(wrong, "it")
    assert engine.aliases == ()


def test_chosen_dropout_is_used_in_training_alone(bert: Backbone) -> None:
    options = TrainingOptions(steps=3, batch_size=4, adapter=AdapterChoice(rank=2, dropout=0.5))
    with_dropout = train(SENTIMENT, SENTIMENT_ROWS, bert, options)
    without = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(options, adapter=AdapterChoice(rank=2)))
    key = next(iter(without.adapter_tensors))
    assert not torch.equal(with_dropout.adapter_tensors[key], without.adapter_tensors[key])
    assert with_dropout.adapter_config is not None
    assert with_dropout.adapter_config["lora_dropout"] == 0.0


def test_lora_chosen_by_name_is_lora_by_rank(bert: Backbone) -> None:
    options = TrainingOptions(steps=3, batch_size=4)
    by_rank = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(options, rank=2, alpha=4.0))
    by_choice = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(options, adapter=AdapterChoice(rank=2, alpha=4.0)))
    assert by_rank.adapter == by_choice.adapter
    assert all(
        torch.equal(by_rank.adapter_tensors[key], by_choice.adapter_tensors[key]) for key in by_rank.adapter_tensors
    )


def test_learning_rate_of_the_adapter_follows_its_kind() -> None:
    # arXiv 2205.05638 for (IA)^3; the others scale with the width
    rates = {name: TrainingOptions(adapter=choice).resolved(10, 384).adapter_lr for name, choice in CHOICES.items()}
    width = 0.75 / 384
    of_kind = {"lora": width, "bottleneck": width, "ia3": 3e-3, "bitfit": 1e-3}
    assert rates == {name: of_kind[choice.kind] for name, choice in CHOICES.items()}
    assert TrainingOptions(adapter=CHOICES["ia3"], adapter_lr=0.5).resolved(10, 384).adapter_lr == 0.5
    assert TrainingOptions(adapter=CHOICES["ia3"]).resolved(10, 384).head_lr == width
