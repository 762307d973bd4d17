import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers.utils import logging as transformers_logging

from petapter import Backbone, Example, TrainedModule, TrainingOptions, train
from petapter.runtime.ray_cluster import Cluster
from petapter_schemas.task import TaskSpec
from tests.petapter.tiny_backbones import ARCHITECTURES, HEADLESS, build_backbone

BackboneOf = Callable[[str], Backbone]
StillOf = Callable[[str], Backbone]

SENTIMENT = TaskSpec.model_validate(
    {"labels": {"pos": "great", "neg": ["awful", "bad"]}, "patterns": ["{text} It was {mask}."]}
)
TOPIC = TaskSpec.model_validate(
    {
        "fields": ["title", "body"],
        "labels": {"sports": "sports", "world": "world", "money": "business money"},
        "patterns": [
            "{mask} {mask} news: {title} {body}",
            {"template": "{body} It was {mask} {mask}.", "keep": "tail"},
        ],
    }
)
SENTIMENT_ROWS = [
    Example({"text": text}, label)
    for text, label in [
        ("the match was very good", "pos"),
        ("a fine game", "pos"),
        ("good team, good ball", "pos"),
        ("not a bad price", "neg"),
        ("the bank was bad", "neg"),
        ("no business in that market", "neg"),
    ]
]
TOPIC_ROWS = [
    Example({"title": title, "body": body}, label)
    for title, body, label in [
        ("the match", "a goal in the game", "sports"),
        ("the team", "that ball was in", "sports"),
        ("all the world", "news of the world", "world"),
        ("the topic", "question and answer", "world"),
        ("the bank", "price of money", "money"),
        ("market", "business and price", "money"),
    ]
]
QUICK = TrainingOptions(steps=4, batch_size=4, rank=2, alpha=4.0)


@pytest.fixture(scope="session", autouse=True)
def _no_progress_bars() -> None:
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny backbone of every architecture, those without a masked-LM head, "modernbert-global" and "other-bert".

    The last has other weights than "bert".
    """
    folder = tmp_path_factory.mktemp("backbones")
    families = (*ARCHITECTURES, *HEADLESS, "modernbert-global")
    built = {family: build_backbone(family, folder / family) for family in families}
    return built | {"other-bert": build_backbone("bert", folder / "other-bert", seed=1)}


@pytest.fixture(scope="session")
def backbone_of(directories: dict[str, Path]) -> BackboneOf:
    """Loads a backbone by name once; tests leave it bare."""
    loaded: dict[str, Backbone] = {}

    def load(name: str) -> Backbone:
        if name not in loaded:
            loaded[name] = Backbone.load(directories[name], device="cpu")
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def still_directory_of(directories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a tiny backbone without dropout, so that two ways to compute the same agree."""

    def copy(family: str) -> Path:
        folder = tmp_path_factory.mktemp("still") / family
        shutil.copytree(directories[family], folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return copy


@pytest.fixture(scope="session")
def still_of(still_directory_of: Callable[[str], Path]) -> StillOf:
    return lambda family: Backbone.load(still_directory_of(family), device="cpu")


@pytest.fixture(scope="session")
def bert(backbone_of: BackboneOf) -> Backbone:
    return backbone_of("bert")


@pytest.fixture(scope="session")
def sentiment(bert: Backbone) -> TrainedModule:
    """A LoRA module with one mask; far enough from zero that a lost adapter shows."""
    return train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=12, batch_size=4, adapter_lr=0.05))


@pytest.fixture(scope="session")
def topic(bert: Backbone) -> TrainedModule:
    """A LoRA module of another rank with other labels, two fields, two patterns and two masks."""
    options = TrainingOptions(steps=12, batch_size=4, adapter_lr=0.05, rank=3, alpha=6.0, seed=1)
    return train(TOPIC, TOPIC_ROWS, bert, options)


@pytest.fixture(scope="session")
def head_only(bert: Backbone) -> TrainedModule:
    return train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=12, batch_size=4, rank=0, head_lr=0.05))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Ray in this process, with room for two workers; for files that skip without Ray."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20)
        yield Cluster(workers=2)
        ray.shutdown()
