# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter pull`: a module from a remote, checked byte by byte and, if wanted, by what it answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption, prepare_torch
from petapter_hub_client.output import byte_progress, hush_huggingface, is_quiet, say, say_facts, say_json, size_text

if TYPE_CHECKING:
    from petapter_hub_client.fetching import PulledModule
    from petapter_hub_client.fits import Fit


def pull(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE", help="[remote:]namespace/name[@revision]", autocompletion=complete_reference
        ),
    ],
    *,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Also copy it to this new directory.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", metavar="BACKBONE", help="Refuse a module that does not run on it, before its weights come."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also reproduce its golden outputs, which needs torch.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a module into the cache, the newest version unless a revision is named."""
    if check:
        prepare_torch("pull --check")
    from petapter_hub_client.fetching import pull as fetch

    hush_huggingface()
    with byte_progress("pulling") as on_progress:
        pulled = fetch(reference, out=out, backbone=backbone, on_progress=on_progress)
    if check:
        from petapter_hub_client.local_runs import reproduce

        reproduce(pulled.directory, pulled.manifest, backbone)
    if is_quiet() and not as_json:
        say(str(pulled.directory))
        return
    from petapter_hub_client.fits import likely_fit

    fit = pulled.fit or likely_fit(pulled.manifest)
    if as_json:
        say_json(_json(pulled, fit, was_reproduced=check))
    else:
        say_facts(_facts(pulled, fit, was_reproduced=check))


def _json(pulled: "PulledModule", fit: "Fit", *, was_reproduced: bool) -> dict[str, object]:
    return {
        "reference": pulled.reference,
        "version": pulled.manifest.version,
        "commit": pulled.commit,
        "digest": pulled.digest,
        "size_bytes": pulled.size_bytes,
        "directory": str(pulled.directory),
        "was_cached": pulled.was_cached,
        "backbone": {
            "name": fit.backbone,
            "directory": str(fit.directory) if fit.directory else None,
            "verdict": fit.verdict,
            "reason": fit.reason,
        },
        "was_reproduced": was_reproduced,
    }


def _facts(pulled: "PulledModule", fit: "Fit", *, was_reproduced: bool) -> list[tuple[str, object]]:
    cached = ", was in the cache" if pulled.was_cached else ""
    return [
        ("reference", pulled.reference),
        ("version", pulled.manifest.version),
        ("commit", pulled.commit),
        ("digest", f"sha256:{pulled.digest}"),
        ("size", f"{size_text(pulled.size_bytes)}{cached}, every byte checked"),
        ("backbone", fit),
        *([("check", "reproduces its golden outputs here")] if was_reproduced else []),
        ("directory", pulled.directory),
    ]
