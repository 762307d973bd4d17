"""Whether ten texts that suggest-examples names are worth more than ten random ones: accuracy of preset strong.

python tests/benchmarks/bench_suggest_examples.py DIR

DIR holds DIR/NAME/train.csv (header: text,label) for each task of suggest_examples_tasks.yaml. Of these rows some are
asked, and the others known; test rows have no part in it. For each sample 400 known texts are drawn, their labels
unseen; ten of them are named by suggest-examples, and ten drawn at random, five times; "balanced" draws at random too,
but as many of each label as can be, which nobody can who has no labels. With ten rows preset strong is its convex head
alone, on what the frozen backbone makes of texts; each text is read once, and once more where the first sample is
trained and asked as a user would, to see that the accuracy is the same.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean, stdev

import numpy as np
import torch
import yaml

from petapter import Backbone, Engine, Example, StrongOptions, train
from petapter.benchmark.samples import draw_test_rows
from petapter.selection import suggest_examples
from petapter.task import encode_rows, read_verbalizer
from petapter.training.convex import Evidence, convex_logits, fit_convex_head
from petapter.training.evidence import (
    NULL_TEXTS,
    TextReading,
    evidence_of,
    label_head,
    log_prior,
    read_frozen,
    row_weights,
    targets_of,
)
from petapter_hub_client import resolve_backbone
from petapter_schemas.task import TaskSpec
from tests.benchmarks.intervals import interval

TASKS = Path(__file__).parent / "suggest_examples_tasks.yaml"
COUNT = 10
POOL = 400
KNOWN_ROWS = 800
ASKED_ROWS = 300
RANDOM_DRAWS = 5
METHODS = ("suggested", "random", "balanced")


@dataclass(frozen=True)
class Read:
    """Rows and what the frozen backbone makes of them."""

    task: TaskSpec
    rows: Sequence[Example]
    reading: TextReading
    null: torch.Tensor

    def evidence(self, chosen: Sequence[int]) -> tuple[Evidence, torch.Tensor]:
        """As preset strong has it of some rows, and the words' prior."""
        rows = [self.rows[row] for row in chosen]
        weights = row_weights(self.task, rows, targets_of(self.task, rows))
        words = torch.cat([self.reading.words[:, list(chosen)], self.null], dim=1)
        prior = log_prior(self.task, words, torch.cat([weights, torch.ones(self.null.shape[1])]))
        part = TextReading(self.reading.words[:, list(chosen)], tuple(b[list(chosen)] for b in self.reading.blocks))
        return evidence_of(self.task, rows, part, prior), prior


def read(task: TaskSpec, rows: Sequence[Example], backbone: Backbone) -> Read:
    head = label_head(backbone, read_verbalizer(task, backbone.tokenizer), task)
    null = [Example(dict.fromkeys(task.fields, text)) for text in NULL_TEXTS]
    known, empty = (
        read_frozen(backbone, head, encode_rows(task, backbone.tokenizer, backbone.max_tokens, part))
        for part in (rows, null)
    )
    return Read(task, rows, known, empty.words)


def accuracy(pool: Read, chosen: Sequence[int], test: Read) -> float:
    """Of the convex head of some rows on the test rows."""
    evidence, prior = pool.evidence(chosen)
    if int((evidence.targets.sum(dim=0) > 0).sum()) == 1:  # strong refuses rows of one label: it is given to all
        return mean(row.label == pool.rows[chosen[0]].label for row in test.rows)
    asked = evidence_of(test.task, test.rows, test.reading, prior)
    said = convex_logits(fit_convex_head(evidence), asked).argmax(dim=1)
    return float((said == asked.targets.argmax(dim=1)).float().mean())


def trained_accuracy(task: TaskSpec, rows: Sequence[Example], test: Sequence[Example], backbone: Backbone) -> float:
    """The same by training and asking a module."""
    module = train(task, rows, backbone, StrongOptions())
    with Engine(backbone) as engine:
        engine.load(module, "m")
        answers = engine.predict([("m", row.fields) for row in test])
    return mean(answer.label == row.label for answer, row in zip(answers, test, strict=True))


def balanced(rows: Sequence[Example], pool: Sequence[int], names: Sequence[str], random: Random) -> list[int]:
    """Rows of each label in turn, labels in a random order."""
    order, chosen = random.sample(list(names), len(names)), list[int]()
    left = {name: random.sample(own, len(own)) for name in names if (own := [r for r in pool if rows[r].label == name])}
    while len(chosen) < COUNT:
        for name in order:
            if left.get(name) and len(chosen) < COUNT:
                chosen.append(left[name].pop())
    return chosen


@dataclass(frozen=True)
class Draw:
    """What ten texts are worth, and how many labels they have."""

    accuracy: float
    labels: int


def measure(known: Read, test: Read, backbone: Backbone, seed: int) -> Mapping[str, Sequence[Draw]]:
    """The draws of each method from one sample of the texts."""
    random = Random(seed)  # noqa: S311 (samples, no secret)
    pool = random.sample(range(len(known.rows)), min(POOL, len(known.rows)))
    named = suggest_examples(
        [known.rows[row].fields for row in pool], backbone, task=known.task, count=COUNT, seed=seed
    )
    draws = {
        "suggested": [[pool[each.index] for each in named.texts]],
        "random": [random.sample(pool, COUNT) for _ in range(RANDOM_DRAWS)],
        "balanced": [balanced(known.rows, pool, known.task.label_names, random) for _ in range(RANDOM_DRAWS)],
    }
    if seed == 0:
        chosen = draws["suggested"][0]
        ours = accuracy(known, chosen, test)
        users = trained_accuracy(known.task, [known.rows[row] for row in chosen], test.rows, backbone)
        print(f"\n{len(pool)} texts; first sample: {100 * ours:.2f} by features read once, {100 * users:.2f} as a user")
    return {
        name: [
            Draw(accuracy(known, chosen, test), len({known.rows[row].label for row in chosen})) for chosen in of_method
        ]
        for name, of_method in draws.items()
    }


def report(name: str, cells: Sequence[Mapping[str, Sequence[Draw]]], labels: int) -> None:
    print(f"\n## {name}: {labels} labels, {len(cells)} samples\n")
    print("| ten texts | accuracy | worst ten | labels among them | less random, by sample |")
    print("| --- | ---: | ---: | ---: | ---: |")
    means = {method: [mean(draw.accuracy for draw in cell[method]) for cell in cells] for method in METHODS}
    for method in METHODS:
        draws = [draw for cell in cells for draw in cell[method]]
        found = [100 * draw.accuracy for draw in draws]
        gain, half = interval([100 * (a - b) for a, b in zip(means[method], means["random"], strict=True)])
        less = "" if method == "random" else f"{gain:+.1f} ({gain - half:+.1f} to {gain + half:+.1f})"
        print(
            f"| {method} | {mean(found):.1f} ± {stdev(found):.1f} | {min(found):.1f} | "
            f"{mean(draw.labels for draw in draws):.1f} | {less} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=6)
    given = parser.parse_args()
    backbone = Backbone.load(resolve_backbone("minilm").directory, repo="minilm")
    print(f"minilm, {COUNT} of {POOL} texts, numpy {np.__version__}, {torch.get_num_threads()} threads")
    for name, described in yaml.safe_load(TASKS.read_text(encoding="utf-8")).items():
        task = TaskSpec.model_validate(described)
        rows = draw_test_rows(labelled_rows(given.data / name / "train.csv", task), KNOWN_ROWS + ASKED_ROWS)
        count = min(ASKED_ROWS, len(rows) // 2)
        known, asked = read(task, rows[count:], backbone), read(task, rows[:count], backbone)
        report(name, [measure(known, asked, backbone, seed) for seed in range(given.samples)], len(task.labels))


def labelled_rows(path: Path, task: TaskSpec) -> list[Example]:
    """The rows of a file that have a label of the task."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [Example({"text": row["text"]}, row["label"]) for row in csv.DictReader(stream)]
    return [row for row in rows if row.label in task.label_names]


if __name__ == "__main__":
    main()
