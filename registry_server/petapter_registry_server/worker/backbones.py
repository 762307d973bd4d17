"""The backbones that a worker has: directories below one, found by the digests that a manifest names."""

from collections.abc import Iterator
from pathlib import Path

import structlog

from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from petapter_schemas.manifest import BackboneSpec

_CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"
_WEIGHTS = "*.safetensors"

_State = tuple[tuple[str, int, int], ...]


class LocalBackbones:
    """Looks at every folder with a config.json, at any depth: a folder of models, or the cache of the Hub's client."""

    def __init__(self, root: Path) -> None:
        """Look below a directory.

        Raises:
            InputError: It is no directory.
        """
        if not root.is_dir():
            raise InputError(f"worker_backbones {root} is no directory: put the backbones in one, each a folder")
        self._root = root
        self._weights: dict[Path, tuple[_State, str]] = {}

    def find(self, wanted: BackboneSpec) -> Path | None:
        """The directory of a backbone, if it is there with all its bytes."""
        for directory in self._candidates():
            try:
                if self._is(directory, wanted):
                    return directory
            except BackboneError as error:
                structlog.get_logger("petapter_registry_server").warning("backbone", skipped=str(error))
        return None

    def _candidates(self) -> Iterator[Path]:
        return (config.parent for config in sorted(self._root.rglob(_CONFIG)) if (config.parent / _TOKENIZER).is_file())

    def _is(self, directory: Path, wanted: BackboneSpec) -> bool:
        """The cheap digests first; a backbone of half a gigabyte takes a second."""
        return (
            config_sha256(directory / _CONFIG) == wanted.config_sha256
            and tokenizer_sha256(directory / _TOKENIZER) == wanted.tokenizer_sha256
            and self._weights_of(directory) == wanted.weights_sha256
        )

    def _weights_of(self, directory: Path) -> str:
        """Computed once for each state of the files; the process that loads them computes it again."""
        stats = [(file.name, file.stat()) for file in sorted(directory.glob(_WEIGHTS))]
        state = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
        known = self._weights.get(directory)
        if known is None or known[0] != state:
            known = state, weights_sha256(directory)
            self._weights[directory] = known
        return known[1]
