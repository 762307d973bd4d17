"""What `petapter drift` notices, how often it cries wolf, and how far its estimate of the accuracy is off.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_drift DIR --out tests/benchmarks/results/drift.md

DIR holds the data sets of grids/few_shot.yaml, each with train.csv and test.csv (header: text,label). By data set and
size, modules of preset strong are trained on three samples; each is then asked about DRAWS draws of TEXTS test rows, as
they are and after a change: half of them replaced by texts of another data set; the first half of the labels thinned
to a tenth; only the shorter half of the texts. An alarm is one at alpha = 0.01.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petapter import Backbone, Engine, StrongOptions, TrainedModule, train
from petapter.benchmark.datasets import Dataset, load_datasets
from petapter.benchmark.grid import read_grid
from petapter.evaluation.drift import DriftReport, compare_with
from petapter.evaluation.profile import TextFeatures, TopAnswers, text_features
from petapter_hub_client import resolve_backbone

GRID = Path(__file__).parent / "grids" / "few_shot.yaml"
SAMPLES, DRAWS, TEXTS = 3, 20, 200
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """Texts as a module sees them, and whether it is right; -1 as gold label where that is unknown."""

    features: TextFeatures
    answers: TopAnswers
    gold: NDArray[np.int64]

    def rows(self, chosen: Rows) -> "Asked":
        features = TextFeatures(self.features.lengths[chosen], self.features.tokens[chosen])
        answers = TopAnswers(self.answers.labels[chosen], self.answers.confidences[chosen])
        return Asked(features, answers, self.gold[chosen])

    def with_rows(self, other: "Asked") -> "Asked":
        features = TextFeatures(
            np.concatenate([self.features.lengths, other.features.lengths]),
            np.concatenate([self.features.tokens, other.features.tokens]),
        )
        answers = TopAnswers(
            np.concatenate([self.answers.labels, other.answers.labels]),
            np.concatenate([self.answers.confidences, other.answers.confidences]),
        )
        return Asked(features, answers, np.concatenate([self.gold, other.gold]))


Change = Callable[[Asked, Asked, int, np.random.Generator], Asked]


def unchanged(own: Asked, _: Asked, __: int, rng: np.random.Generator) -> Asked:
    return own.rows(rng.permutation(len(own.gold))[:TEXTS])


def half_other(own: Asked, other: Asked, _: int, rng: np.random.Generator) -> Asked:
    half = TEXTS // 2
    return own.rows(rng.permutation(len(own.gold))[:half]).with_rows(
        other.rows(rng.permutation(len(other.gold))[:half])
    )


def other_mix(own: Asked, _: Asked, labels: int, rng: np.random.Generator) -> Asked:
    kept = np.flatnonzero((own.gold >= labels // 2) | (rng.random(len(own.gold)) < 0.1))
    return own.rows(rng.permutation(kept)[:TEXTS])


def shorter(own: Asked, _: Asked, __: int, rng: np.random.Generator) -> Asked:
    kept = np.flatnonzero(own.features.lengths < np.median(own.features.lengths))
    return own.rows(rng.permutation(kept)[:TEXTS])


CHANGES: dict[str, Change] = {
    "as they are": unchanged,
    "half of another set": half_other,
    "labels thinned": other_mix,
    "the shorter half": shorter,
}


def ask(backbone: Backbone, module: TrainedModule, texts: Sequence[dict[str, str]], gold: Sequence[int]) -> Asked:
    with Engine(backbone) as engine:
        engine.load(module, "module")
        said = engine.predict([("module", text) for text in texts])
    shares = np.array([[answer.probabilities[name] for name in module.task.label_names] for answer in said])
    answers = TopAnswers(shares.argmax(axis=1), shares.max(axis=1))
    return Asked(text_features(backbone.tokenizer, texts), answers, np.array(gold))


@dataclass
class Counted:
    """Reports about one data set, size and change, and the true accuracy behind each."""

    reports: list[DriftReport]
    right: list[float]

    @property
    def alarms(self) -> float:
        return float(np.mean([report.drifted for report in self.reports]))

    def error(self) -> str:
        estimates = [report.accuracy for report in self.reports]
        pairs = [(each, right) for each, right in zip(estimates, self.right, strict=True) if each is not None]
        if not pairs or any(np.isnan(right) for _, right in pairs):
            return "-"
        off = np.mean([abs(each.value - right) for each, right in pairs])
        inside = np.mean([each.low <= right <= each.high for each, right in pairs])
        return f"{off:.3f} ({inside:.0%})"


def measure(backbone: Backbone, dataset: Dataset, other: Dataset, size: int) -> dict[str, Counted]:
    names = dataset.task.label_names
    counted = {change: Counted([], []) for change in CHANGES}
    for sample in [each for each in dataset.samples if each.size == size][:SAMPLES]:
        module = train(dataset.task, sample.rows, backbone, StrongOptions())
        assert module.profile is not None
        own = ask(
            backbone, module, [row.fields for row in dataset.test], [names.index(row.label) for row in dataset.test]
        )
        theirs = ask(backbone, module, [row.fields for row in other.test[:400]], [-1] * len(other.test[:400]))
        rng = np.random.default_rng(0)
        for name, change in CHANGES.items():
            for draw in range(DRAWS):
                new = change(own, theirs, len(names), rng)
                report = compare_with(module.profile, new.features, new.answers, names, seed=draw)
                known = not (new.gold < 0).any()
                counted[name].reports.append(report)
                counted[name].right.append(float((new.answers.labels == new.gold).mean()) if known else float("nan"))
    return counted


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--sizes", type=int, nargs="+", default=[10, 100])
    given = options.parse_args()
    grid = read_grid(GRID)
    datasets = load_datasets(grid, GRID, given.data)
    resolved = resolve_backbone("minilm")
    backbone = Backbone.load(resolved.directory, repo="minilm", device="cpu")
    lines = [
        "# Drift",
        "",
        *(__doc__ or "").splitlines()[2:],
        "",
        "Share of draws with an alarm (as they are: false alarms), then the mean absolute error of the estimated",
        "accuracy, and in brackets how often the true one was inside the 95 % interval.",
        "",
        "| data set | n | " + " | ".join(f"{name}: alarms" for name in CHANGES) + " | "
        + " | ".join(f"{name}: error" for name in CHANGES if name != "half of another set") + " |",
        "| --- | ---: |" + " ---: |" * (2 * len(CHANGES) - 1),
    ]  # fmt: skip
    for size in given.sizes:
        for place, dataset in enumerate(datasets):
            found = measure(backbone, dataset, datasets[(place + 1) % len(datasets)], size)
            alarms = " | ".join(f"{found[name].alarms:.2f}" for name in CHANGES)
            errors = " | ".join(found[name].error() for name in CHANGES if name != "half of another set")
            lines.append(f"| {dataset.name} | {size} | {alarms} | {errors} |")
            print(lines[-1], flush=True)
            given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
