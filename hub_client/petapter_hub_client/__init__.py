"""The petapter command line and its remotes: train, push, pull, search, predict.

The functions below are the client's Python API. `push`, `pull` and `search` import huggingface_hub when first used, and
never torch; `resolve_backbone` and `open_stack` need torch only to build the built-in backbone, once.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from petapter_hub_client.backbones import resolve_backbone
    from petapter_hub_client.fetching import pull
    from petapter_hub_client.publishing import push
    from petapter_hub_client.searching import search
    from petapter_hub_client.stacks.opening import open_stack

__all__ = ("open_stack", "pull", "push", "resolve_backbone", "search")

_ROOMS = {
    "open_stack": "stacks.opening",
    "pull": "fetching",
    "push": "publishing",
    "resolve_backbone": "backbones",
    "search": "searching",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 (most commands need none of these)

    value: object = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    return value
