# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter export`: a module in a form that programs without petapter run."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from petapter_hub_client.commands.options import BackboneOption, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, is_quiet, progress, report, say, say_json, size_text

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a module in a form that programs without petapter run.",
)


@app.callback()
def _group() -> None:
    """Keep `export onnx` a command of two words although there is but one."""


@app.command()
def onnx(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module directory or a reference.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="NAME.onnx", help="The graph; two files go beside it.")],
    pattern: Annotated[
        int | None, typer.Option("--pattern", metavar="N", min=0, help="Which of several patterns, from 0.")
    ] = None,
    backbone: BackboneOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge a module into its backbone and write an ONNX graph, compared with the module by onnxruntime."""
    prepare_torch("export")
    from petapter.onnx_export import check_onnx, export_onnx

    hush_huggingface()
    check_onnx(out)
    from petapter_hub_client.local_runs import load_backbone, locate_modules, shared_backbone

    with progress("exporting"):
        (located,) = locate_modules([module])
        loaded = load_backbone(shared_backbone(backbone, [located.manifest]), device="cpu")
        made = export_onnx(loaded, located.directory, out, pattern=pattern)
    if as_json:
        say_json({key: str(value) if isinstance(value, Path) else value for key, value in asdict(made).items()})
    elif is_quiet():
        say(str(made.graph))
    else:
        for path in (made.graph, made.description, made.tokenizer):
            report(f"wrote {path}, {size_text(path.stat().st_size)}")
        report(f"onnxruntime says the same on the module's probe texts, to {made.worst:.1g}")
