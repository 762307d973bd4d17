"""Options and arguments that several commands share, and what has to be done before torch is imported."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from petapter_schemas.errors import PetapterError

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
BackboneOption = Annotated[
    str | None,
    typer.Option("--backbone", help="A Hub id, a local directory, or 'minilm'. Default: the one in the manifest."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="Where the backbone runs: cpu, cuda, cuda:1. Default: the first GPU, else cpu."),
]
DataArgument = Annotated[Path, typer.Argument(metavar="DATA.csv", help="CSV with a header and a column 'label'.")]

# of sign and verify
TrustConfigOption = Annotated[
    Path | None, typer.Option("--trust-config", metavar="FILE", help="Of a Sigstore of your own, not the public one.")
]

# of train and tune
ModuleOutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="The module directory to make.")]
TaskOption = Annotated[Path | None, typer.Option("--task", metavar="FILE", help="Labels and patterns as YAML.")]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=word,word", help="A label and its words; repeat for each label."),
]
NewBackboneOption = Annotated[str, typer.Option("--backbone", help="A Hub id, a local directory, or 'minilm'.")]
ModuleNameOption = Annotated[str | None, typer.Option("--name", help="The module's name. Default: the name of DIR.")]
ModuleVersionOption = Annotated[str, typer.Option("--version", metavar="X.Y.Z", help="The module's version.")]
ModuleDescriptionOption = Annotated[str, typer.Option("--description", help="One or two sentences for the model card.")]
ModuleLicenseOption = Annotated[str | None, typer.Option("--license", help="An SPDX identifier such as Apache-2.0.")]
HeldOutOption = Annotated[
    Path | None, typer.Option("--test", metavar="HELD_OUT.csv", help="Labelled rows to measure on afterwards.")
]
HeldOutNameOption = Annotated[
    str | None, typer.Option("--test-name", help="Name of the test set. Default: the file's name.")
]

# of predict and stack predict
InputOption = Annotated[
    Path | None,
    typer.Option("--input", "-i", metavar="TEXTS", help="The modules' text fields: .csv, .jsonl or .parquet."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="ANSWERS", help="Write answers to a .csv, .jsonl or .parquet file."),
]
KeepColumnsOption = Annotated[
    str, typer.Option("--keep-columns", metavar="NAME,…", help="Columns of --input that --output bears too.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace --output, at the end.")]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Throw away what a run that was stopped left of --output.")
]
CheckOption = Annotated[bool, typer.Option("--check", help="First reproduce each module's golden outputs.")]
PrecisionOption = Annotated[
    Literal["float32", "bfloat16"],
    typer.Option("--precision", help="Of the backbone: bfloat16 is faster where the processor has it."),
]
EngineOption = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Where the work is done: here, or over a Ray cluster.")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="HOST:PORT", help="Default: RAY_ADDRESS, else Ray is started for the run."),
]
RayWorkersOption = Annotated[
    int | None, typer.Option("--ray-workers", metavar="N", min=1, help="Default: one per GPU, else per processor.")
]

_NEEDED = ("torch", "transformers", "peft", "safetensors")


def prepare_torch(command: str) -> None:
    """Refuse in one line where petapter was installed without torch, and set what OpenMP reads when torch loads it.

    Threads that wait for one another shall soon sleep instead of spin. Seconds for 50 training steps on two cores, idle
    and beside one busy process: GNU OpenMP's own choice 6 and 133, always sleeping 7 and 9, this one 6 and 10.

    Raises:
        PetapterError: A library that the command needs is missing.
    """
    for library in _NEEDED:
        if find_spec(library) is None:
            raise PetapterError(f"petapter {command} needs {library}: pip install 'petapter[train]'")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
