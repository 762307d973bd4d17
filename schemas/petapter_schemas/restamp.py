"""Gives a module directory another version: the same weights under a new manifest and a new card."""

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from petapter_schemas.card import render_card
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import ManifestError
from petapter_schemas.manifest import MANIFEST_FILE, FileSpec, Manifest, manifest_bytes, read_manifest
from petapter_schemas.messages import first_problem
from petapter_schemas.module_files import CARD_FILE, read_module_files, verify_module


def restamp_version(directory: Path, *, version: str, reference: str | None = None) -> Manifest:
    """Write the manifest and the card of a module anew under another version; the card first, the manifest last.

    The rest of the directory is verified before. The old card is not: it is replaced anyway, and so a call that was
    interrupted between the two writes can be repeated.

    Args:
        directory: A module directory.
        version: SemVer.
        reference: Where the module can be pulled from, for the card's examples.

    Returns:
        The new manifest.

    Raises:
        ModuleError: The directory breaks the format, or `version` is no SemVer.
        InvalidReferenceError: `reference` is none.
    """
    verified = _verify_but_card(directory)
    try:
        restamped = Manifest.model_validate({**verified.model_dump(), "version": version})
    except ValidationError as error:
        raise ManifestError(f"{version!r} is no version: {first_problem(error)}") from error
    card = render_card(restamped, reference=reference).encode()
    listed = FileSpec(path=CARD_FILE, size=len(card), sha256=sha256_bytes(card))
    files = tuple(listed if file.path == CARD_FILE else file for file in restamped.files)
    manifest = restamped.model_copy(update={"files": files})
    data = manifest_bytes(manifest)
    write_file_durably(directory / CARD_FILE, card)
    write_file_durably(directory / MANIFEST_FILE, data)
    return manifest


def _verify_but_card(directory: Path) -> Manifest:
    files = read_module_files(directory)
    promised = {file.path: file for file in read_manifest(directory).files}
    if card := promised.get(CARD_FILE):
        files[CARD_FILE] = replace(files[CARD_FILE], size=card.size, sha256=card.sha256)
    return verify_module(files)
