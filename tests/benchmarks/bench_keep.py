"""Whether it pays to choose by validation how long texts are kept: accuracy of every way and of the chosen one.

python tests/benchmarks/bench_keep.py DIR

DIR holds imdb/ and 20newsgroups/ with train.csv and test.csv (header: text,label). Samples and test rows are drawn by
hash. Every module is trained by preset strong without a delta. A text that the backbone has read once in a table is not
read again, but for the seconds, which are the processor's and taken with nothing read before.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import mean, stdev

import torch

from petapter import Backbone, Engine, Example, TrainedModule, read_examples
from petapter.backbone import Reading
from petapter.benchmark.samples import Drawing, Sample, draw_samples, draw_test_rows
from petapter.task import Batch, encode_rows, seen_share
from petapter.training import StrongOptions, train_strong
from petapter.training.long_texts import KeepChoice, choose_keep
from petapter_hub_client import resolve_backbone
from petapter_schemas.task import TaskSpec

KEEPS = ("head", "tail", "head+tail", "windows")
SAMPLES = 3
TEST_ROWS = 400
IMDB = {
    "labels": {"negative": ["bad", "terrible"], "positive": ["good", "great"]},
    "patterns": ["{text} It was {mask}."],
}
NEWSGROUPS = {
    "labels": {
        "alt.atheism": "atheist",
        "comp.graphics": "graphics",
        "comp.os.ms-windows.misc": "windows",
        "comp.sys.ibm.pc.hardware": "pc",
        "comp.sys.mac.hardware": "mac",
        "comp.windows.x": "unix",
        "misc.forsale": "sale",
        "rec.autos": "cars",
        "rec.motorcycles": "motorcycles",
        "rec.sport.baseball": "baseball",
        "rec.sport.hockey": "hockey",
        "sci.crypt": "encryption",
        "sci.electronics": "electronics",
        "sci.med": "medicine",
        "sci.space": "space",
        "soc.religion.christian": "christianity",
        "talk.politics.guns": "guns",
        "talk.politics.mideast": "israel",
        "talk.politics.misc": "politics",
        "talk.religion.misc": "religion",
    },
    "patterns": ["{text} It is about {mask}."],
}
DATASETS = {"imdb": (IMDB, (10, 100)), "20newsgroups": (NEWSGROUPS, (20, 100))}
"""Tasks, and sizes: a sample needs a row of each of its labels."""


@dataclass(frozen=True)
class Remembering(Backbone):
    """A bare backbone that reads no text twice."""

    known: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def read(self, batch: Batch, pool_layers: Sequence[int] = ()) -> Reading:
        keys = [
            tuple(ids[:length].tolist())
            for ids, length in zip(batch.input_ids, batch.attention_mask.sum(dim=1).tolist(), strict=True)
        ]
        if new := [row for row, key in enumerate(keys) if key not in self.known]:
            longest = max(len(keys[row]) for row in new)
            part = Batch(
                batch.input_ids[new, :longest],
                batch.attention_mask[new, :longest],
                batch.mask_positions[new],
                batch.text_mask[new, :longest],
            )
            reading = super().read(part, pool_layers)
            assert reading.pools is not None
            said = zip(reading.at_masks, reading.pools, strict=True)
            self.known.update(zip((keys[row] for row in new), said, strict=True))
        found = [self.known[key] for key in keys]
        return Reading(torch.stack([masks for masks, _ in found]), torch.stack([pools for _, pools in found]))


def remembering(backbone: Backbone) -> Remembering:
    return Remembering(**{part.name: getattr(backbone, part.name) for part in fields(backbone)})


@dataclass(frozen=True)
class Cell:
    """What came of one sample: by way the accuracy on all test rows and on those that are cut, and the choice."""

    size: int
    accuracy: dict[str, float]
    of_cut: dict[str, float]
    left_out: dict[str, float]
    choice: KeepChoice
    train_seconds: float
    choose_seconds: float


@dataclass(frozen=True)
class Test:
    """Test rows, and which of them lose tokens where only the head is kept."""

    rows: Sequence[Example]
    cut: Sequence[int]


def kept(task: TaskSpec, keep: str) -> TaskSpec:
    patterns = [pattern.model_copy(update={"keep": keep}) for pattern in task.patterns]
    return task.model_copy(update={"patterns": tuple(patterns)})


def correct(backbone: Backbone, module: TrainedModule, rows: Sequence[Example]) -> list[bool]:
    with Engine(backbone) as engine:
        engine.load(module, "m")
        answers = engine.predict([("m", row.fields) for row in rows])
    return [answer.label == row.label for answer, row in zip(answers, rows, strict=True)]


def measure(bare: Backbone, known: Backbone, task: TaskSpec, sample: Sample, test: Test) -> Cell:
    options = StrongOptions(delta="never")
    started = time.process_time()
    train_strong(kept(task, "head"), sample.rows, bare, options)
    trained = time.process_time()
    choice = choose_keep(kept(task, "head"), sample.rows, bare)
    chosen = time.process_time()
    modules = {keep: train_strong(kept(task, keep), sample.rows, known, options) for keep in KEEPS}
    right = {keep: correct(known, module, test.rows) for keep, module in modules.items()}
    return Cell(
        sample.size,
        {keep: mean(answers) for keep, answers in right.items()},
        {keep: mean(answers[row] for row in test.cut) for keep, answers in right.items()},
        {keep: float(module.training.hyperparameters["left_out_loss"]) for keep, module in modules.items()},
        choice,
        trained - started,
        chosen - trained,
    )


def spread(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f}"


def report(name: str, cells: Sequence[Cell], seen: dict[str, float], share_cut: float) -> None:
    size = cells[0].size
    print(f"\n{name}, n={size}: {100 * share_cut:.0f} % of the test rows lose tokens where only the head is kept\n")
    print("| keep | accuracy | of cut rows | left-out loss | tokens seen |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for keep in KEEPS:
        loss = mean(cell.left_out[keep] for cell in cells)
        accuracy, of_cut = ([getattr(cell, what)[keep] for cell in cells] for what in ("accuracy", "of_cut"))
        print(f"| {keep} | {spread(accuracy)} | {spread(of_cut)} | {loss:.3f} | {100 * seen[keep]:.1f} % |")
    accuracy, of_cut = ([getattr(cell, what)[cell.choice.keep] for cell in cells] for what in ("accuracy", "of_cut"))
    loss = mean(cell.left_out[cell.choice.keep] for cell in cells)
    share = mean(seen[cell.choice.keep] for cell in cells)
    names = ", ".join(cell.choice.keep for cell in cells)
    print(f"| chosen: {names} | {spread(accuracy)} | {spread(of_cut)} | {loss:.3f} | {100 * share:.1f} % |")
    print(
        f"\nprocessor seconds: training with head {mean(cell.train_seconds for cell in cells):.1f}, choosing before it "
        f"{mean(cell.choose_seconds for cell in cells):.1f}; rows that head cuts in the samples: "
        f"{', '.join(f'{100 * cell.choice.cut_rows:.0f} %' for cell in cells)}"
    )
    print("left-out losses by sample, with the gain over head and its standard error:\n")
    for cell in cells:
        ways = (f"{way.keep} {way.loss:.3f} ({way.gain:+.3f} ± {way.error:.3f})" for way in cell.choice.ways)
        print(f"- {'; '.join(ways) or 'no row is cut'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    backbone = Backbone.load(resolve_backbone("minilm").directory, repo="minilm")
    print(f"minilm, at most {backbone.max_tokens} tokens, {torch.get_num_threads()} threads, {TEST_ROWS} test rows")
    for name, (described, sizes) in DATASETS.items():
        task = TaskSpec.model_validate(described)
        pool = read_examples(data / name / "train.csv", task)
        rows = draw_test_rows(read_examples(data / name / "test.csv", task), TEST_ROWS)
        encoded = {
            keep: encode_rows(kept(task, keep), backbone.tokenizer, backbone.max_tokens, rows)[0] for keep in KEEPS
        }
        seen = {keep: seen_share(windows).share for keep, windows in encoded.items()}
        test = Test(rows, [row for row, lost in enumerate(encoded["head"].lost_tokens) if lost])
        known = remembering(backbone)
        drawn = draw_samples(pool, task.label_names, Drawing(sizes, SAMPLES))
        for size in sizes:
            cells = [measure(backbone, known, task, sample, test) for sample in drawn if sample.size == size]
            report(name, cells, seen, len(test.cut) / len(rows))


if __name__ == "__main__":
    main()
