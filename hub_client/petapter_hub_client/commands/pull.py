# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter pull`: a module from a remote, checked byte by byte."""

from pathlib import Path
from typing import Annotated

import typer

from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import hush_huggingface, progress, say_facts, say_json, size_text


def pull(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name[@revision]")],
    *,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Also copy it to this new directory.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a module into the cache, the newest version unless a revision is named."""
    from petapter_hub_client.fetching import pull as fetch

    hush_huggingface()
    with progress("pulling") as on_step:
        done = 0

        def on_file(path: str, size_bytes: int, total_bytes: int) -> None:
            nonlocal done
            done += size_bytes
            on_step(done, total_bytes, path)

        pulled = fetch(reference, out=out, on_file=on_file)
    facts = {
        "reference": pulled.reference,
        "version": pulled.manifest.version,
        "commit": pulled.commit,
        "digest": pulled.digest,
        "size_bytes": pulled.size_bytes,
        "directory": str(pulled.directory),
        "was_cached": pulled.was_cached,
    }
    if as_json:
        say_json(facts)
    else:
        size = f"{size_text(pulled.size_bytes)}{' (cached)' if pulled.was_cached else ''}, every byte checked"
        shown = {**facts, "digest": f"sha256:{pulled.digest}", "size": size}
        say_facts([(key, shown[key]) for key in ("reference", "version", "commit", "digest", "size", "directory")])
