"""Gives a module directory another version: the same weights under a new manifest, a new card and its plots."""

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from petapter_schemas.card import render_card
from petapter_schemas.card_plots import PLOT_FILES, draw_plots
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import ManifestError
from petapter_schemas.manifest import MANIFEST_FILE, FileSpec, Manifest, manifest_bytes, read_manifest
from petapter_schemas.messages import first_problem
from petapter_schemas.module_files import CARD_FILE, read_module_files, verify_module
from petapter_schemas.plot_data import PLOT_DATA_FILE, PlotData, parse_plot_data

DRAWN_FILES = frozenset({CARD_FILE, *PLOT_FILES})
"""What is made of the manifest and plots.json, and so says nothing that these do not."""


def restamp_version(directory: Path, *, version: str, reference: str | None = None) -> Manifest:
    """Write manifest, card and plots of a module anew under another version; the manifest last.

    The rest of the directory is verified before. What is drawn is not: it is replaced anyway, and so a call that was
    interrupted between two writes can be repeated.

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
    verified = _verify_but_drawn(directory)
    try:
        restamped = Manifest.model_validate({**verified.model_dump(), "version": version})
    except ValidationError as error:
        raise ManifestError(f"{version!r} is no version: {first_problem(error)}") from error
    plots = draw_plots(restamped, _plot_data(directory, restamped))
    drawn = {plot.path: plot.svg.encode() for plot in plots}
    drawn[CARD_FILE] = render_card(restamped, reference=reference, plots=plots).encode()
    listed = {file.path: file for file in restamped.files}
    listed |= {path: FileSpec(path=path, size=len(data), sha256=sha256_bytes(data)) for path, data in drawn.items()}
    manifest = restamped.model_copy(update={"files": tuple(listed.values())})
    data = manifest_bytes(manifest)
    for path, content in drawn.items():
        write_file_durably(directory / path, content)
    write_file_durably(directory / MANIFEST_FILE, data)
    return manifest


def _plot_data(directory: Path, manifest: Manifest) -> PlotData | None:
    if not any(file.path == PLOT_DATA_FILE for file in manifest.files):
        return None
    return parse_plot_data((directory / PLOT_DATA_FILE).read_bytes())


def _verify_but_drawn(directory: Path) -> Manifest:
    files = read_module_files(directory)
    for promised in read_manifest(directory).files:
        if promised.path in DRAWN_FILES:
            files[promised.path] = replace(files[promised.path], size=promised.size, sha256=promised.sha256)
    return verify_module(files)
