# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter info`: what a manifest says, of a directory or of a reference without its weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_module
from petapter_hub_client.commands.figures import show_figures
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import hush_huggingface, say, say_facts, say_json, say_table, size_text

if TYPE_CHECKING:
    from petapter_schemas.manifest import Manifest


def info(
    module: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE|DIR", help="A module on a remote or on this machine.", autocompletion=complete_module
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a module is: labels, patterns, backbone, sizes and measured figures."""
    from petapter_hub_client.describing import info as describe
    from petapter_hub_client.fetching import is_local_module
    from petapter_schemas.ensemble import is_ensemble

    hush_huggingface()
    if is_local_module(module) and is_ensemble(Path(module)):
        _show_ensemble(Path(module), as_json=as_json)
        return
    found = describe(module)
    if found.reference is None:
        source = {"directory": module}
    else:
        source = {"reference": found.reference, "commit": str(found.commit)}
    if as_json:
        say_json({**source, "digest": found.digest, "manifest": found.manifest.model_dump(mode="json")})
    else:
        _show(found.manifest, [*source.items(), ("digest", f"sha256:{found.digest}")])


def _show_ensemble(directory: Path, *, as_json: bool) -> None:
    from petapter_schemas.digests import sha256_file
    from petapter_schemas.ensemble import ENSEMBLE_FILE, verify_ensemble

    ensemble, _ = verify_ensemble(directory)
    digest = sha256_file(directory / ENSEMBLE_FILE)
    if as_json:
        say_json({"directory": str(directory), "digest": digest, "ensemble": ensemble.model_dump(mode="json")})
        return
    say_facts(
        [
            ("directory", directory),
            ("digest", f"sha256:{digest}"),
            ("name", f"{ensemble.name} {ensemble.version}"),
            ("description", ensemble.description or "-"),
            ("license", ensemble.license or "-"),
            ("labels", ", ".join(ensemble.labels)),
            ("backbone", f"{ensemble.backbone.repo} ({ensemble.backbone.architecture})"),
        ]
    )
    say("")
    rows = [
        (each.path, f"{each.name} {each.version}", each.weight, each.manifest_sha256[:16]) for each in ensemble.members
    ]
    say_table(("member", "module", "weight", "digest"), rows)
    if ensemble.evaluation:
        say("")
        show_figures(ensemble.evaluation)


def _show(manifest: "Manifest", source: list[tuple[str, str]]) -> None:
    say_facts([*source, *_facts(manifest)])
    say("")
    say_table(
        ("label", "words", "training rows"),
        [
            (label.name, ", ".join(label.words), count)
            for label, count in zip(manifest.task.labels, manifest.training.examples_per_class, strict=True)
        ],
    )
    say("")
    say_table(("file", "size", "sha256"), [(f.path, size_text(f.size), f.sha256[:16]) for f in manifest.files])
    if (merge := manifest.lineage.merge) is not None:
        say("")
        rows = [(f"{each.name} {each.version}", each.weight, each.manifest_sha256[:16]) for each in merge.members]
        say_table((f"merged by {merge.recipe}", "weight", "digest"), rows)
    if manifest.evaluation:
        say("")
        show_figures(manifest.evaluation)


def _facts(manifest: "Manifest") -> list[tuple[str, object]]:
    backbone, adapter, head = manifest.backbone, manifest.adapter, manifest.head
    kind = f"lora, rank {adapter.rank}, alpha {adapter.alpha:g}" if adapter.alpha is not None else adapter.kind
    return [
        ("name", f"{manifest.name} {manifest.version}"),
        ("description", manifest.description or "-"),
        ("license", manifest.license or "-"),
        ("languages", ", ".join(manifest.languages) or "-"),
        *(("pattern", pattern.template) for pattern in manifest.task.patterns),
        (
            "backbone",
            f"{backbone.repo}{f'@{backbone.revision}' if backbone.revision else ''} ({backbone.architecture})",
        ),
        ("  weights", f"sha256:{backbone.weights_sha256}"),
        ("  config", f"sha256:{backbone.config_sha256}"),
        ("  tokenizer", f"sha256:{backbone.tokenizer_sha256}"),
        ("adapter", f"{kind}, {adapter.parameters:,} parameters, {adapter.dtype}"),
        ("head", f"reads {head.reads}, {head.init}, {head.parameters:,} parameters, {head.dtype}"),
        ("size", size_text(sum(file.size for file in manifest.files))),
    ]
