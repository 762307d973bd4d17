"""What a tuning has found so far, in a folder: a tuning that was killed goes on there, and trains nothing twice."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import InputError

_IDENTITY_FILE = "tuning.json"
_SAID = "said"


class Work:
    """A folder of finished parts, each a small safetensors file that appears whole or not at all."""

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        """Open the folder, or begin it.

        Args:
            folder: Made where it is missing.
            identity: What decides the results; as JSON.

        Raises:
            InputError: The folder holds something else, or the work of other rows, options or another backbone.
        """
        self._folder = folder
        given = json.dumps(identity, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        stored = folder / _IDENTITY_FILE
        if stored.is_file():
            if stored.read_text(encoding="utf-8") != given:
                raise InputError(
                    f"{folder} holds the work of other rows, options, backbone or version: give another --work, or "
                    "remove the folder"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no work of tuning: give another --work")
        (folder / _SAID).mkdir(parents=True, exist_ok=True)
        if not stored.is_file():
            write_file_durably(stored, given.encode())

    @property
    def finished(self) -> int:
        """How many parts are here."""
        return sum(1 for _ in (self._folder / _SAID).glob("*.safetensors"))

    def find(self, part: str) -> Tensor | None:
        """What a part said; None where it is not finished."""
        path = self._path(part)
        return load_file(path)[_SAID] if path.is_file() else None

    def keep(self, part: str, said: Tensor) -> None:
        """Remember what a part said."""
        write_file_durably(self._path(part), save({_SAID: said.contiguous()}))

    def _path(self, part: str) -> Path:
        return self._folder / _SAID / f"{sha256(part.encode()).hexdigest()[:32]}.safetensors"
