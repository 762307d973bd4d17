# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter predict`: many modules, one backbone, one pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_module
from petapter_hub_client.commands.options import (
    BackboneOption,
    CheckOption,
    DeviceOption,
    EngineOption,
    InputOption,
    JsonOption,
    KeepColumnsOption,
    OutputOption,
    OverwriteOption,
    PrecisionOption,
    RayAddressOption,
    RayWorkersOption,
    RestartOption,
    prepare_torch,
)
from petapter_hub_client.output import hush_huggingface

if TYPE_CHECKING:
    from petapter_hub_client.commands.answering import Found


def predict(  # noqa: PLR0913 (a command's options)
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts to classify.")] = None,
    *,
    module: Annotated[
        list[str],
        typer.Option(
            "--module", "-m", help="A directory or reference; may be repeated.", autocompletion=complete_module
        ),
    ],
    input_: InputOption = None,
    output: OutputOption = None,
    keep_columns: KeepColumnsOption = "",
    overwrite: OverwriteOption = False,
    restart: RestartOption = False,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    check: CheckOption = False,
    precision: PrecisionOption = "float32",
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    ray_workers: RayWorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify texts with one or more modules on one backbone."""
    prepare_torch("predict")
    hush_huggingface()
    from petapter_hub_client.commands.answering import EngineChoice, Question, answer

    question = Question(
        text or [],
        input_,
        output,
        keep_columns,
        overwrite=overwrite,
        restart=restart,
        engine=EngineChoice(engine, ray_address, ray_workers),
        check=check,
        precision=precision,
        as_json=as_json,
        device=device,
    )
    answer(question, lambda: _find(module, backbone))


def _find(names: Sequence[str], backbone: str | None) -> "Found":
    """The named modules, pulled if need be."""
    from petapter_hub_client.commands.answering import Found
    from petapter_hub_client.local_runs import locate_modules, shared_backbone

    modules = locate_modules(names)
    return Found(modules, lambda: shared_backbone(backbone, [module.manifest for module in modules]))
