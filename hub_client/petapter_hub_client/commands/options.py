"""Options and arguments that several commands share, and the check that the part which needs torch is there."""

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


def require_training_parts(command: str) -> None:
    """Refuse in one line where petapter was installed without torch.

    Raises:
        PetapterError: A library that the command needs is missing.
    """
    for library in _NEEDED:
        if find_spec(library) is None:
            raise PetapterError(f"petapter {command} needs {library}: pip install 'petapter[train]'")
