"""Parts of the Hub's protocol that this registry does not speak, each refused in words that clients show."""

from fastapi import APIRouter

from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.errors import NotOfferedError, RepositoryNotFoundError

router = APIRouter()

_METHODS = ["GET", "POST", "PUT", "DELETE"]
_WITHIN_A_MODEL = {
    "discussions": "discussions and pull requests",
    "lfs-files": "the list of LFS files: 'hf models info' lists all files",
    "xet-read-token": "Xet: files are downloaded by plain HTTP",
    "duplicate": "server-side copies: download and upload instead",
}


@router.api_route("/api/models/{namespace}/{name}/{part}", methods=_METHODS)
@router.api_route("/api/models/{namespace}/{name}/{part}/{rest:path}", methods=_METHODS)
def within_a_model(namespace: Segment, name: Segment, part: Segment) -> None:
    """What the Hub has below a model and this registry has not."""
    missing = _WITHIN_A_MODEL.get(part, f"the route '{part}' of {namespace}/{name} by this method")
    raise NotOfferedError(f"this registry does not offer {missing}")


@router.api_route("/api/datasets/{rest:path}", methods=["HEAD", *_METHODS])
@router.api_route("/api/spaces/{rest:path}", methods=["HEAD", *_METHODS])
@router.api_route("/datasets/{rest:path}", methods=["HEAD", *_METHODS])
@router.api_route("/spaces/{rest:path}", methods=["HEAD", *_METHODS])
@router.api_route("/{rest}/resolve/{revision}/{path:path}", methods=["HEAD", "GET"])
def no_models(rest: Segment) -> None:
    """Datasets, spaces, and models without a namespace."""
    raise RepositoryNotFoundError(rest)
