"""The JSON of a model, as ModelInfo in huggingface_hub reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from petapter_registry_server.clock import hub_date
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.reading import Model
from petapter_registry_server.tree import TreeFile, pointer

_KNOWN_TO_CLIENTS = frozenset(
    {"author", "baseModels", "cardData", "childrenModelCount", "config", "createdAt", "disabled", "downloads",
     "downloadsAllTime", "evalResults", "gated", "gguf", "inference", "inferenceProviderMapping", "lastModified",
     "library_name", "likes", "mask_token", "model-index", "pipeline_tag", "private", "resourceGroup", "safetensors",
     "sha", "siblings", "spaces", "tags", "transformersInfo", "trendingScore", "usedStorage", "widgetData",
     "xetEnabled", "gitalyUid", "securityRepoStatus"}
)  # fmt: skip
"""What `expand` may name. Those that this registry does not know are left out of the answer, as clients allow."""


@dataclass(frozen=True)
class Shape:
    """Which optional parts of a model to show; `expand` None shows the usual ones."""

    expand: Sequence[str] | None = None
    siblings: bool = False
    blobs: bool = False
    card: bool = False


def check_expand(names: Sequence[str]) -> Sequence[str] | None:
    """The names, or None when there are none.

    Raises:
        InvalidRequestError: One is unknown.
    """
    for name in names:
        if name not in _KNOWN_TO_CLIENTS:
            raise InvalidRequestError(f"expand: {name!r} is unknown")
    return names or None


def model_shape(model: Model, shape: Shape, *, stored_bytes: int | None = None) -> dict[str, Any]:
    """A model as JSON; `stored_bytes` is shown when it is given."""
    everything = _all_fields(model, shape)
    if stored_bytes is not None:
        everything["usedStorage"] = stored_bytes
    if shape.expand is not None:
        return {key: value for key, value in everything.items() if key in {"_id", "id", *shape.expand}}
    hidden = {"baseModels", "downloadsAllTime"}
    hidden |= set() if shape.siblings else {"siblings"}
    hidden |= set() if shape.card else {"cardData"}
    return {key: value for key, value in everything.items() if key not in hidden}


def _all_fields(model: Model, shape: Shape) -> dict[str, Any]:
    return {
        "_id": model.full_name,
        "id": model.full_name,
        "modelId": model.full_name,
        "author": model.author,
        "sha": model.oid,
        "createdAt": hub_date(model.created_ms),
        "lastModified": hub_date(model.updated_ms),
        "private": model.private,
        "gated": model.gated or False,
        "disabled": False,
        "downloads": model.downloads,
        "downloadsAllTime": model.downloads,
        "tags": list(model.tags),
        **_optional("pipeline_tag", model.card.pipeline_tag),
        **_optional("library_name", model.card.library_name),
        **_optional("model-index", model.card.data.get("model-index")),
        "baseModels": model.card.base_models,
        "cardData": dict(model.card.data),
        "siblings": _siblings(model, shape),
    }


def _optional(key: str, value: object) -> dict[str, object]:
    return {} if value is None else {key: value}


def _siblings(model: Model, shape: Shape) -> list[dict[str, object]]:
    if shape.blobs:
        return [_blob(file) for file in model.tree.values()]
    return [{"rfilename": path} for path in model.tree]


def _blob(file: TreeFile) -> dict[str, object]:
    shape: dict[str, object] = {"rfilename": file.path, "size": file.size, "blobId": file.git_oid}
    if file.is_apart:
        size = len(pointer(file.sha256, file.size))
        shape["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": size}
    return shape
