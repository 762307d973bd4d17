"""A module that was trained and measured for tests of the real worker, and the worker as an operator runs it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.hub_client.tiny_reviews import ROWS as REVIEWS
from tests.hub_client.tiny_reviews import save_backbone
from tests.registry_process import run
from tests.registry_server.conftest import Registry

ROWS = [{"text": text, "label": label} for text, label in REVIEWS]


@dataclass(frozen=True)
class Bench:
    """A trained module with its figures, and the folder of its backbone."""

    module: Path
    backbones: Path

    @classmethod
    def at(cls, folder: Path) -> "Bench":
        """Train one there, which declares what it measured on `ROWS`."""
        from petapter import Backbone, Engine, Example, TrainingOptions, train
        from petapter.module import ModuleInfo, save_module
        from petapter_schemas.task import TaskSpec

        backbone = Backbone.load(save_backbone(folder / "backbones" / "tiny"), device="cpu")
        labels = {"good": "good", "bad": ["bad", "awful"]}
        task = TaskSpec.model_validate({"labels": labels, "patterns": ["{text} it was {mask} ."]})
        examples = [Example({"text": row["text"]}, row["label"]) for row in ROWS]
        trained = train(task, examples, backbone, TrainingOptions(steps=4, batch_size=4, rank=2, alpha=4.0))
        with Engine(backbone) as engine:
            engine.load(trained, "it")
            figures = engine.evaluate("it", examples, name="reviews")
        save_module(trained, folder / "module", ModuleInfo("tickets", version="1.0.0"), evaluation=figures)
        return cls(folder / "module", folder / "backbones")

    @property
    def files(self) -> dict[str, bytes]:
        return {
            str(file.relative_to(self.module)): file.read_bytes() for file in self.module.rglob("*") if file.is_file()
        }

    def work(self, registry: Registry, folder: Path) -> subprocess.CompletedProcess[str]:
        """Make a key in a folder and let `petapter-registry worker` end the queue, in a process of its own."""
        key = folder / "worker.pem"
        assert run("petapter-registry", "worker-key", "create", *registry.place, "bench", "--file", key).returncode == 0
        return run(
            "petapter-registry", "worker", *registry.place, "--backbones", self.backbones, "--key", key, "--once"
        )
