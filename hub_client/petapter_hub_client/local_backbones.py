"""Where backbones lie on this machine; nothing here fetches or builds one."""

from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.places import cache_directory
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import BackboneError, InvalidNameError
from petapter_schemas.minilm import MINILM, MINILM_ENCODER_SHA256
from petapter_schemas.names import check_name

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")
"""Which files of a repository on the Hub make a backbone."""
UNWANTED = ("*/*",)

_BUILD = "1"
"""Changes whenever `build_minilm` would write other bytes, so that old builds are left alone."""


@dataclass(frozen=True)
class ResolvedBackbone:
    """A backbone's files and the name that manifests record for it.

    Attributes:
        directory: Holds config.json, the weights as safetensors, and the tokenizer.
        repo: A Hub id, "minilm", or the name of a local directory.
        revision: Commit on the Hub, where it came from there.
        digests: Of configuration, weights and tokenizer, where these were taken just before; None where they were not.
    """

    directory: Path
    repo: str
    revision: str | None
    digests: tuple[Sha256, Sha256, Sha256] | None = None


def find_here(name: str, *, revision: str | None = None) -> ResolvedBackbone | None:
    """A backbone that is on this machine; None where it is not.

    Args:
        name: A local directory, "minilm" or a Hub id.
        revision: Commit of a Hub id.

    Raises:
        BackboneError: Nothing could be called so.
    """
    if (directory := local_directory(name)) is not None:
        return ResolvedBackbone(directory, directory.resolve().name, None)
    if name == MINILM:
        built = minilm_directory()
        return ResolvedBackbone(built, MINILM, None) if built.is_dir() else None
    check_hub_id(name)
    snapshot = hub_cache_directory(name, revision)
    return None if snapshot is None else ResolvedBackbone(snapshot, name, snapshot.name)


def local_directory(name: str) -> Path | None:
    """The directory that a name means, if it means one."""
    directory = Path(name).expanduser()
    return directory if name and directory.is_dir() else None


def minilm_directory() -> Path:
    """Where the built-in backbone is, or will be once it is built."""
    return cache_directory() / "backbones" / f"{MINILM}-{MINILM_ENCODER_SHA256[:12]}-{_BUILD}"


def hub_cache_directory(name: str, revision: str | None) -> Path | None:
    """The snapshot of a Hub id that huggingface_hub cached earlier."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import)
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED), local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def check_hub_id(name: str) -> None:
    """Refuse what cannot be a repository on the Hub.

    Raises:
        BackboneError: It cannot.
    """
    parts = name.split("/")
    try:
        is_hub_id = len(parts) <= 2 and all(check_name(part) for part in parts)  # noqa: PLR2004 (namespace and name)
    except InvalidNameError:
        is_hub_id = False
    if not is_hub_id:
        raise BackboneError(
            f"{name!r} is no backbone: give a local directory, a Hub id such as org/model, or {MINILM!r}"
        )
