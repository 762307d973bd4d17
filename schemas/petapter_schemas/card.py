"""The model card of a module, README.md: metadata for the Hub, then tables for people.

Everything in it comes from the manifest, and nothing a user wrote there can become markup. The card knows nothing of
`Manifest.files`, because it is one of them.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean

from petapter_schemas.adapter_spec import Dtype
from petapter_schemas.card_metadata import front_matter, published_backbone, within
from petapter_schemas.card_plots import Plot
from petapter_schemas.manifest import CalibrationSpec, EvaluationSpec, Interval, Manifest
from petapter_schemas.merge_spec import MergeSpec
from petapter_schemas.minilm import MINILM
from petapter_schemas.references import Reference
from petapter_schemas.task import LabelSpec, PatternSpec

_MAX_TABLE_BYTES = 48 * 1024
_MAX_CELL_CHARACTERS = 300
_DTYPE_BYTES: dict[Dtype, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
_KIB = 1024
_RELIABILITY_PARTS = 5
_MEANINGS = {
    "ece": "mean distance between the probability of its answer and how often it is right; 0 is best, and few rows "
    "alone make it 0.05 to 0.1",
    "brier": "squared distance of all its probabilities to the right answer, from 0 (best) to 2",
    "log_loss": "mean negative log-probability of the right label, in nats; 0 is best",
    "aurc": "share of wrong answers among the k it is surest of, averaged over k; 0 is best",
    "coverage": "share of the rows that it gives a label at its own threshold",
    "selective_accuracy": "share of those labels that is right",
}

# Characters with a meaning in HTML, tables, code, links or emphasis. An underscore inside a word has none.
_MARKUP = re.compile(r"[&<>|`\[\]*~\\$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BLOCK_START = re.compile(r"^([#+=:-]|\d{1,9}(?=[.)]))")


def render_card(manifest: Manifest, *, reference: str | None = None, plots: Sequence[Plot] = ()) -> str:
    """The text of README.md.

    Args:
        manifest: The module; `files` is not used.
        reference: Where the module can be pulled from, for the examples.
        plots: Pictures that lie beside the card.

    Raises:
        InvalidReferenceError: `reference` is none.
        InvalidNameError: Its namespace or name breaks the rules.
    """
    source = None if reference is None else str(Reference.parse(reference))
    sections = [
        f"# {_text(manifest.name)} {_text(manifest.version)}",
        *_paragraphs(manifest.description),
        _summary(manifest),
        *_usage(manifest, source),
        *_task(manifest),
        *_evaluation(manifest.evaluation),
        *_plots(plots),
        *_training(manifest),
        *_merge(manifest.lineage.merge),
        *_limits(manifest),
    ]
    return front_matter(manifest) + "\n" + "\n\n".join(sections) + "\n"


def _summary(manifest: Manifest) -> str:
    repo, adapter = manifest.backbone.repo, manifest.adapter.kind
    built_in = f" (petapter's built-in one, made from {published_backbone(repo)})" if repo == MINILM else ""
    trained = manifest.head.parts and (_has_rows(manifest) or manifest.training.steps)
    head = "a trained head" if trained else "the backbone's own head"
    kind = f"{head}, no adapter" if adapter == "none" else f"a {adapter} adapter and {head}"
    return (
        f"A [petapter](https://arxiv.org/abs/2412.04975) module for {manifest.task.type} text classification: {kind} "
        f"for the frozen backbone {_text(repo)}{built_in}, which it needs exactly as it is (weights sha256 "
        f"`{manifest.backbone.weights_sha256[:16]}`)."
    )


def _has_rows(manifest: Manifest) -> bool:
    """Whether labelled rows had a part in the module."""
    return any(manifest.training.examples_per_class)


def _usage(manifest: Manifest, source: str | None) -> Iterator[str]:
    module, fields = source or f"./{manifest.name}", manifest.task.fields
    predict = f"petapter predict --module {module} " + ('"…"' if len(fields) == 1 else "--input texts.csv")
    pull = f"petapter pull {source or f'NAMESPACE/{manifest.name}'} --out {manifest.name}"  # a push may leave it so
    yield "## Use"
    yield f"```sh\n{pull}\n{predict}\n```"
    text = '"…"' if len(fields) == 1 else "{" + ", ".join(f'"{field}": "…"' for field in fields) + "}"
    yield "\n".join(
        [
            "```python",
            "from pathlib import Path",
            "from petapter import Backbone, Engine",
            "from petapter_hub_client import resolve_backbone",
            "",
            f"backbone = Backbone.load(resolve_backbone({json.dumps(manifest.backbone.repo)}).directory)",
            "with Engine(backbone) as engine:",
            f'    engine.load(Path("{manifest.name}"), "{manifest.name}")',
            f'    print(engine.predict([("{manifest.name}", {text})]))',
            "```",
        ]
    )


def _task(manifest: Manifest) -> Iterator[str]:
    task = manifest.task
    yield "## Task"
    yield f"Text fields: {', '.join(map(_text, task.fields))}. {len(task.labels)} labels, in this order:"
    yield _table(("label", "words", "description"), [_label_row(label) for label in task.labels])
    yield "Patterns:" if len(task.patterns) == 1 else "Patterns, whose log-probabilities are averaged:"
    yield _table(("pattern", "when a text is too long"), [_pattern_row(pattern) for pattern in task.patterns])


def _label_row(label: LabelSpec) -> tuple[str, str, str]:
    return label.name, ", ".join(label.words), label.description


def _pattern_row(pattern: PatternSpec) -> tuple[str, str]:
    kept = "read it in windows" if pattern.keep == "windows" else f"keep its {pattern.keep}"
    return pattern.template.replace("\n", "⏎"), kept


def _evaluation(evaluation: Sequence[EvaluationSpec]) -> Iterator[str]:
    yield "## Evaluation"
    if not evaluation:
        yield "None was recorded."
        return
    header = ("metric", "value", "interval", "evaluation set", "split", "n", "seeds", "status")
    yield _table(header, [_evaluation_row(item) for item in evaluation])
    if any(item.status == "declared" for item in evaluation):
        yield "*declared*: the author's own figure, which nobody has reproduced yet."
    if meanings := [f"- *{name}*: {meaning}" for name, meaning in _MEANINGS.items() if name in _metrics(evaluation)]:
        yield "\n".join(meanings)
    for item in evaluation:
        yield from _reliability(item)


def _plots(plots: Sequence[Plot]) -> Iterator[str]:
    for plot in plots:
        yield f"### {_text(plot.title)}"
        yield f"![{_text(plot.alt, len(plot.alt))}]({plot.path})"


def _metrics(evaluation: Sequence[EvaluationSpec]) -> set[str]:
    return {item.metric for item in evaluation}


def _reliability(item: EvaluationSpec) -> Iterator[str]:
    if not item.reliability:
        return
    rows = item.evaluation_set
    yield f"How often it is right when it is so sure, on {_text(rows.name)} ({_text(rows.split)}), in equal parts:"
    bins = len(item.reliability)
    parts = min(bins, _RELIABILITY_PARTS)
    cuts = [part * bins // parts for part in range(parts + 1)]
    groups = [item.reliability[start:end] for start, end in itertools.pairwise(cuts)]
    cells = [
        (f"{mean(each.confidence for each in group):.2f}", f"{mean(each.accuracy for each in group):.2f}")
        for group in groups
    ]
    yield _table(("mean probability of its answer", "share that is right"), cells)


def _evaluation_row(item: EvaluationSpec) -> tuple[str, ...]:
    rows = item.evaluation_set
    name = f"{rows.name} (sha256 {rows.sha256[:12]})"
    seeds = ", ".join(map(str, item.seeds))
    return (
        item.metric,
        _number(item.value),
        _interval(item.interval),
        name,
        rows.split,
        f"{rows.n:,}",
        seeds,
        item.status,
    )


def _interval(interval: Interval) -> str:
    ends = f"{_number(interval.low)} to {_number(interval.high)}"
    return f"{ends} ({100 * interval.level:g} %, {interval.method})"


def _training(manifest: Manifest) -> Iterator[str]:
    training, adapter, head = manifest.training, manifest.adapter, manifest.head
    yield "## Training and size"
    rows = [
        ("examples per class", _range(training.examples_per_class)),
        ("preset", training.preset),
        ("steps", f"{training.steps:,}"),
        ("seconds", f"{training.seconds:,.1f}"),
        ("seeds", ", ".join(map(str, training.seeds))),
        ("hardware", training.hardware),
        ("peak memory", f"{training.peak_memory_bytes / _KIB**2:,.0f} MiB"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in training.libraries.items())),
        ("trained rows (sha256)", training.rows_sha256),
        ("adapter", _size(adapter.parameters, adapter.dtype)),
        ("head", _size(head.parameters, head.dtype)),
    ]
    yield _table(("", ""), [*rows, *(("trained from", text) for text in manifest.lineage.trained_from)])


def _merge(merge: MergeSpec | None) -> Iterator[str]:
    if merge is None:
        return
    yield "## Merged from"
    yield f"The weights of {len(merge.members)} modules, merged by {merge.recipe}:"
    rows = [
        (f"{member.name} {member.version}", _number(member.weight), member.manifest_sha256) for member in merge.members
    ]
    yield _table(("module", "weight", "sha256 of its petapter.json"), rows)


def _limits(manifest: Manifest) -> Iterator[str]:
    limits = [
        "It answers only with the labels above, also for texts that belong to none of them.",
        "Texts longer than the backbone reads are cut, and the prediction says how many tokens were lost.",
        *_calibration(manifest.calibration),
    ]
    if not _has_rows(manifest):
        limits.append("No labelled row had a part in it: what its labels mean it knows from their words alone.")
    if not manifest.evaluation:
        limits.append("Nothing is known about how often it is right.")
    yield "## Limits"
    yield "\n".join(f"- {limit}" for limit in limits)


def _calibration(calibration: CalibrationSpec | None) -> Iterator[str]:
    if calibration is not None and calibration.thresholds:
        low, high = _number(min(calibration.thresholds)), _number(max(calibration.thresholds))
        limit = low if low == high else f"{low} to {high}"
        yield f"It gives a text every label whose probability reaches that label's threshold, {limit}."
    if calibration is None or (
        calibration.thresholds and calibration.temperature == 1 and calibration.class_bias is None
    ):
        yield "Its probabilities are not calibrated: 0.9 does not mean right nine times out of ten."
        return
    yield f"Its probabilities are calibrated (temperature {_number(calibration.temperature)}), for data like its own."
    if calibration.abstain_below is not None:
        rate = calibration.abstain_error_rate
        known = "" if rate is None else f", so that at most {100 * rate:.3g} % of texts like its own get a wrong one"
        yield f"It gives no label below a probability of {_number(calibration.abstain_below)}{known}."


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _size(parameters: int, dtype: Dtype) -> str:
    return f"{parameters:,} numbers, {dtype}, {parameters * _DTYPE_BYTES[dtype] / _KIB:,.1f} KiB"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(row) for row in rows]
    kept = within(lines, _MAX_TABLE_BYTES)
    if len(kept) < len(lines):
        rest = f"… and {len(lines) - len(kept):,} more in petapter.json"
        kept.append(_row((rest, *("" for _ in header[1:]))))
    return "\n".join([_row(header), _row(["---"] * len(header)), *kept])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_text, cells)) + " |"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        if escaped := _text(paragraph, len(paragraph)):
            yield _BLOCK_START.sub(_escape_block, escaped)


def _escape_block(match: re.Match[str]) -> str:
    start = match.group()
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def _text(text: str, limit: int = _MAX_CELL_CHARACTERS) -> str:
    """Text on one line in which no character is markup."""
    line = " ".join(text.split())
    cut = line if len(line) <= limit else line[:limit] + "…"
    visible = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
    return _MARKUP.sub(lambda match: f"&#{ord(match.group())};", visible)
