"""What the demo shows in the end: the figures from the manifests beside the majority baseline, and where to go on."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from petapter_hub_client.demo.leftovers import ENV_FILE, NEXT_COMMANDS, README_FILE, serve_command
from petapter_hub_client.demo.shell import Shell
from petapter_hub_client.output import say_table, size_text
from petapter_schemas.manifest import EvaluationSpec, Manifest, read_manifest


def show_summary(shell: Shell, modules: Sequence[tuple[str, str]], seconds: float) -> None:
    """Show a column per module.

    Args:
        shell: Where the modules are.
        modules: Directory and held-out rows of each.
        seconds: How long everything took.
    """
    shell.title("What came out")
    columns = [_figures(shell.directory / module, shell.directory / rows) for module, rows in modules]
    names = [module.rpartition("/")[2] for module, _ in modules]
    say_table(("", *names), [(figure, *(column[figure] for column in columns)) for figure in columns[0]])
    shell.remark(
        "In brackets: the 95 % interval over the held-out rows. Baseline: always answering the most frequent label."
    )
    shell.remark(f"The whole walk took {seconds:.0f} s.")


def show_next(shell: Shell, directory: Path, port: int) -> None:
    """Show the commands to go on with; README.md in the directory has them too."""
    shell.title(f"The registry is stopped; everything is in {directory}. To go on:")
    shell.show(f"cd {shlex.quote(str(directory))} && . ./{ENV_FILE}")
    shell.show(f"{serve_command(port)} &")
    for command in NEXT_COMMANDS[:3]:
        shell.show(command)
    shell.remark(f"More in {directory / README_FILE}.")


def _figures(module: Path, held_out: Path) -> dict[str, str]:
    manifest = read_manifest(module)
    accuracy, macro_f1 = (_figure(manifest, metric) for metric in ("accuracy", "macro_f1"))
    interval = accuracy.interval
    return {
        "train rows": f"{sum(manifest.training.examples_per_class)}",
        "held-out rows": f"{accuracy.evaluation_set.n}",
        "held-out accuracy": f"{accuracy.value:.3f} ({interval.low:.3f} to {interval.high:.3f})",
        "majority baseline": f"{_majority(held_out, manifest):.3f}",
        "macro-F1": f"{macro_f1.value:.3f}",
        "size on disk": size_text(sum(path.stat().st_size for path in module.iterdir())),
        "training": f"{manifest.training.seconds:.0f} s",
    }


def _figure(manifest: Manifest, metric: str) -> EvaluationSpec:
    return next(item for item in manifest.evaluation if item.metric == metric)


def _majority(held_out: Path, manifest: Manifest) -> float:
    from petapter.evaluation import majority_accuracy  # noqa: PLC0415 (imports scikit-learn, which only this needs)
    from petapter.task import read_examples  # noqa: PLC0415

    return majority_accuracy(read_examples(held_out, manifest.task))
