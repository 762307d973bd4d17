"""Modules that differ in what search looks at: labels, languages, backbone, figures, lineage."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.registry_server.module_bytes import module_files


@dataclass(frozen=True)
class Figure:
    """A measured figure; `digest` is that of the rows, or the digit that it repeats; the interval is ± `half`."""

    metric: str
    value: float
    rows: str = "dev"
    digest: str = "a"
    n: int = 20
    half: float = 0.1
    status: str = "declared"

    def entry(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": self.value,
            "interval": {
                "low": self.value - self.half,
                "high": self.value + self.half,
                "level": 0.95,
                "method": "bootstrap",
            },
            "evaluation_set": {"name": self.rows, "sha256": (self.digest * 64)[:64], "split": "test", "n": self.n},
            "seeds": [0],
            "status": self.status,
            "reliability": [],
        }


@dataclass(frozen=True)
class Varied:
    """What to change in the tiny module."""

    version: str = "1.0.0"
    labels: tuple[str, str] = ("very good", "poor")
    languages: tuple[str, ...] = ("en",)
    description: str = ""
    backbone: str = "tiny/bert"
    weights: str = "0"
    figures: tuple[Figure, ...] = field(default=(Figure("accuracy", 0.9),))
    parent: str | None = None
    fill: float = 0.5

    def files(self) -> dict[str, bytes]:
        files = module_files(version=self.version, fill=self.fill)
        manifest = json.loads(files["petapter.json"])
        for label, name in zip(manifest["task"]["labels"], self.labels, strict=True):
            label["name"] = name
        manifest["languages"] = list(self.languages)
        manifest["description"] = self.description
        manifest["backbone"]["repo"] = self.backbone
        manifest["backbone"]["weights_sha256"] = self.weights * 64
        manifest["evaluation"] = [figure.entry() for figure in self.figures]
        manifest["lineage"]["parent"] = self.parent
        return files | {"petapter.json": json.dumps(manifest).encode()}
