"""Measures a module from files alone, as the registry's worker asks: nothing is fetched, and nothing is written.

`python -m petapter.measuring DIRECTORY` reads what petapter_schemas/measurement.py says and prints a `Measurement`.
"""

import sys
import time
from pathlib import Path

from petapter.backbone import Backbone
from petapter.benchmark.machine import hardware, library_versions
from petapter.process import settle
from petapter.runtime import Engine
from petapter.runtime.answers import Examined
from petapter.task import Example, read_examples, rows_digest
from petapter_schemas.errors import DataError, DigestMismatchError, PetapterError
from petapter_schemas.manifest import MANIFEST_FILE, EvaluationSet, Manifest, manifest_digest, read_manifest
from petapter_schemas.measurement import (
    BAD_INPUT_CODE,
    MAX_CONFUSED_LABELS,
    MODULE_FOLDER,
    OUT_OF_MEMORY_CODE,
    ROWS_FILE,
    TASK_FILE,
    Measurement,
    parse_measuring_task,
)

_SHOWN_LIBRARIES = ("python", "petapter", "torch", "transformers", "peft", "numpy")
_NO_MEMORY = ("allocate memory", "out of memory")


def measure_directory(directory: Path) -> Measurement:
    """Measure the module in a directory on the rows in it, golden outputs first.

    Raises:
        ModuleError: The module is another one than the task says, must not be used, or does not answer as it should.
        BackboneError: It does not run on the backbone.
        DataError: The rows are others than the task says, or are no rows for this module.
    """
    began = time.perf_counter()
    task = parse_measuring_task((directory / TASK_FILE).read_bytes())
    module = directory / MODULE_FOLDER
    manifest = _read_module(module, task.module_sha256)
    backbone = Backbone.load(Path(task.backbone), repo=manifest.backbone.repo, revision=manifest.backbone.revision)
    measured = measure_module(backbone, module, directory / ROWS_FILE, task.evaluation_set)
    return measured.model_copy(update={"seconds": time.perf_counter() - began})


def measure_module(backbone: Backbone, module: Path, rows: Path, evaluation_set: EvaluationSet) -> Measurement:
    """Measure a module's directory on a file of labelled rows, golden outputs first.

    Raises:
        ModuleError: The module must not be used, or does not answer as it should.
        BackboneError: It does not run on the backbone.
        DataError: The rows are others than the evaluation set's, or are no rows for this module.
    """
    began = time.perf_counter()
    manifest = read_manifest(module)
    examples = _read_rows(rows, manifest, evaluation_set)
    with Engine(backbone) as engine:
        engine.load(module, manifest.name, check=True)
        examined = engine.examine(manifest.name, examples, name=evaluation_set.name, split=evaluation_set.split)
    versions = library_versions()
    return Measurement(
        module_sha256=manifest_digest((module / MANIFEST_FILE).read_bytes()),
        figures=examined.figures,
        labels=manifest.task.label_names,
        confusion=_confusion(examined),
        hardware=hardware(backbone.device),
        libraries={name: versions[name] for name in _SHOWN_LIBRARIES},
        seconds=time.perf_counter() - began,
    )


def main() -> None:
    """Measure the directory that the command line names; a refusal is one line and an exit code of its own."""
    settle()
    try:
        measured = measure_directory(Path(sys.argv[1]))
    except PetapterError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_INPUT_CODE)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        sys.stderr.write("there is not enough memory\n")
        sys.exit(OUT_OF_MEMORY_CODE)
    sys.stdout.write(measured.model_dump_json())


def _read_module(module: Path, expected: str) -> Manifest:
    found = manifest_digest((module / MANIFEST_FILE).read_bytes())
    if found != expected:
        raise DigestMismatchError(f"the module's manifest has the digest {found[:12]}…, not {expected[:12]}…")
    return read_manifest(module)


def _read_rows(path: Path, manifest: Manifest, expected: EvaluationSet) -> list[Example]:
    examples = read_examples(path, manifest.task)
    if (found := rows_digest(examples)) != expected.sha256 or len(examples) != expected.n:
        raise DataError(
            f"the rows of {expected.name} are not those of its digest: {len(examples)} rows of sha256 {found[:12]}…, "
            f"and it says {expected.n} of {expected.sha256[:12]}…"
        )
    return examples


def _confusion(examined: Examined) -> tuple[tuple[int, ...], ...] | None:
    counted = examined.confusion
    return counted.counts if counted is not None and len(counted.counts) <= MAX_CONFUSED_LABELS else None


if __name__ == "__main__":
    main()
