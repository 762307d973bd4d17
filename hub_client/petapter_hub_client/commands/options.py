"""Options and arguments that several commands share, and what has to be done before torch is imported."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from petapter_schemas.errors import PetapterError

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
BackboneOption = Annotated[
    str | None,
    typer.Option("--backbone", help="A Hub id, a local directory, or 'minilm'. Default: the one in the manifest."),
]
DataArgument = Annotated[Path, typer.Argument(metavar="DATA.csv", help="CSV with a header and a column 'label'.")]

_NEEDED = ("torch", "transformers", "peft", "safetensors")


def prepare_torch(command: str) -> None:
    """Refuse in one line where petapter was installed without torch, and set what OpenMP reads when torch loads it.

    Threads that wait for one another shall sleep instead of spin: where another process has one of two cores, training
    with spinning threads was measured 9 to 15 times slower, and on idle cores it gained nothing beyond the noise.

    Raises:
        PetapterError: A library that the command needs is missing.
    """
    for library in _NEEDED:
        if find_spec(library) is None:
            raise PetapterError(f"petapter {command} needs {library}: pip install 'petapter[train]'")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
