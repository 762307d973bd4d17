"""How far a run over a file has come, and what tells it from any other run; `OUTPUT.part.json` is known here alone."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from petapter.backbone import Precision
from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import InputError, ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem

_MAX_BYTES = 64 << 20

Count = Annotated[int, Field(ge=0)]


class ModuleKey(Frozen):
    """A module of a run: the name its answers go by, and the digest of its manifest."""

    alias: str
    sha256: Sha256


class RunKey(Frozen):
    """What must be the same for a run to go on.

    Attributes:
        input_format: How the input is read.
        input_sha256: Of the input's bytes, wherever they lie.
        modules: In the order of the answers.
        keep: Columns of the input that the answers bear too.
        output_format: How the answers are written.
        chunk_rows: The most rows of a chunk; answers of another cut may differ in the last digit.
        precision: Of the backbone's layers; a checkpoint without it is of float32.
    """

    input_format: str
    input_sha256: Sha256
    modules: tuple[ModuleKey, ...]
    keep: tuple[str, ...]
    output_format: str
    chunk_rows: Annotated[int, Field(ge=1)]
    precision: Precision = "float32"

    def difference(self, other: "RunKey") -> str:
        """What another run has that this one has not, in a few words."""
        if (self.input_format, self.input_sha256) != (other.input_format, other.input_sha256):
            return "another input"
        if self.modules != other.modules:
            return "other modules"
        if self.precision != other.precision:
            return f"another precision of the backbone, {self.precision}"
        return "other columns to keep" if self.keep != other.keep else "another version of petapter"


class Checkpoint(Frozen):
    """What of a run is on the disk.

    Attributes:
        version: Of this format.
        run: Which run it is.
        rows: Rows of the input that are done, broken ones included.
        broken: How many of them are broken.
        cut: Of how many the backbone could not read the whole text.
        written: Bytes of the part file; of Parquet, files in the part directory.
        errors_bytes: Bytes of the list of broken rows.
        finished: All rows are done, and the results are about to get their names.
    """

    version: Literal[1] = 1
    run: RunKey
    rows: Count = 0
    broken: Count = 0
    cut: Count = 0
    written: Count = 0
    errors_bytes: Count = 0
    finished: bool = False


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint of an earlier run, if there is one.

    Raises:
        InputError: It is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Checkpoint.model_validate(strict_json.loads(data, source=str(path), max_bytes=_MAX_BYTES))
    except ManifestError as error:
        raise InputError(f"{error}: --restart throws the part away and begins anew") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}: --restart throws the part away and begins anew") from error


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint; whatever happens, the old one or the new one is there.

    Raises:
        OSError: The disk refused.
    """
    write_file_durably(path, strict_json.canonical(checkpoint.model_dump(mode="json")) + b"\n")
