# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter channel`: names such as `stable` that point to a version on a registry."""

from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import hush_huggingface, note, say_json, say_table

if TYPE_CHECKING:
    from petapter_schemas.registry_api import ChannelList

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Set, list and remove channels on a registry.")

ModuleArgument = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name", autocompletion=complete_reference)
]
ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help="For example stable.")]


@app.command("set")
def set_(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name@v1.2.0")],
    channel: ChannelArgument,
    *,
    as_json: JsonOption = False,
) -> None:
    """Let a channel point to a version."""
    from petapter_hub_client.maintaining import set_channel

    hush_huggingface()
    _show(set_channel(reference, channel), as_json=as_json)


@app.command("list")
def list_(
    reference: ModuleArgument,
    *,
    history: Annotated[bool, typer.Option("--history", help="Every step of each channel, newest first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the channels of a module."""
    from petapter_hub_client.maintaining import list_channels

    hush_huggingface()
    found = list_channels(reference)
    if history and not as_json:
        rows = [(step.name, step.version or "(ended)", step.at, step.by) for step in found.history]
        say_table(("channel", "version", "at", "by"), rows)
    else:
        _show(found, as_json=as_json)


@app.command()
def remove(reference: ModuleArgument, channel: ChannelArgument, *, as_json: JsonOption = False) -> None:
    """End a channel; its history stays."""
    from petapter_hub_client.maintaining import remove_channel

    hush_huggingface()
    _show(remove_channel(reference, channel), as_json=as_json)


def _show(found: "ChannelList", *, as_json: bool) -> None:
    if as_json:
        say_json(found.model_dump(mode="json"))
    elif found.channels:
        rows = [(channel.name, channel.version, channel.moved or "", channel.by or "") for channel in found.channels]
        say_table(("channel", "version", "moved", "by"), rows)
    else:
        note("no channels: the module has no version yet, or all are yanked")
