# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter evaluate`: measure a module on labelled rows."""

from typing import Annotated

import typer

from petapter_hub_client.commands.figures import show_figures, show_reliability
from petapter_hub_client.commands.options import BackboneOption, DataArgument, DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, progress, say_json


def evaluate(  # noqa: PLR0913 (a command's options)
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module directory or a reference.")],
    data: DataArgument,
    *,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    set_name: Annotated[str | None, typer.Option(help="Name of the rows. Default: the file's name.")] = None,
    split: Annotated[str, typer.Option(help="Which part of the data set the rows are.")] = "test",
    as_json: JsonOption = False,
) -> None:
    """Measure a module on labelled rows: accuracy, macro-F1 and the worth of its probabilities, with intervals."""
    prepare_torch("evaluate")
    from petapter.task import read_examples
    from petapter_hub_client.local_runs import load_backbone, locate_modules, measure, shared_backbone

    hush_huggingface()
    with progress("evaluating"):
        (located,) = locate_modules([module])
        examples = read_examples(data, located.manifest.task)
        loaded = load_backbone(shared_backbone(backbone, [located.manifest]), device=device)
        figures = measure(loaded, located.directory, examples, name=set_name or data.stem, split=split)
    if as_json:
        say_json([figure.model_dump(mode="json") for figure in figures])
    else:
        show_figures(figures)
        show_reliability(figures)
