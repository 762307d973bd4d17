# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter yank` and `unyank`: withdraw a published version, and show it again."""

from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import hush_huggingface, say_json, say_table

if TYPE_CHECKING:
    from petapter_schemas.registry_api import ModuleDetail

VersionArgument = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name@v1.2.0", autocompletion=complete_reference)
]


def yank(
    reference: VersionArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why, in one line; whoever pulls the version reads it.")],
    as_json: JsonOption = False,
) -> None:
    """Withdraw a version: search and `latest` pass it over, pulls that name it still work and warn."""
    from petapter_hub_client.maintaining import yank as withdraw

    hush_huggingface()
    _show(withdraw(reference, reason), as_json=as_json)


def unyank(reference: VersionArgument, *, as_json: JsonOption = False) -> None:
    """Show a yanked version again."""
    from petapter_hub_client.maintaining import unyank as restore

    hush_huggingface()
    _show(restore(reference), as_json=as_json)


def _show(detail: "ModuleDetail", *, as_json: bool) -> None:
    if as_json:
        say_json(detail.model_dump(mode="json"))
        return
    rows = [
        (version.version, "latest" if version.version == detail.latest else "", version.published,
         f"yanked: {version.yanked.reason}" if version.yanked else "")
        for version in detail.versions
    ]  # fmt: skip
    say_table(("version", "", "published", "yank"), rows)
