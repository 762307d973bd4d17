"""What an author may want to mend before others see a module; nothing of it forbids a push."""

from collections.abc import Iterator
from pathlib import Path

from petapter_hub_client.local_backbones import check_hub_id
from petapter_schemas.card_metadata import published_backbone
from petapter_schemas.errors import BackboneError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest

_FEW_ROWS = 50


def hints(directory: Path, manifest: Manifest, repo_id: str) -> tuple[str, ...]:
    """One line each, with the remedy.

    Args:
        directory: As the author has it.
        manifest: Its manifest.
        repo_id: Where it is to be published.
    """
    return tuple(_hints(directory, manifest, repo_id))


def _hints(directory: Path, manifest: Manifest, repo_id: str) -> Iterator[str]:
    if manifest.license is None:
        yield "it states no license, so nobody knows whether they may use it: train with --license"
    if not manifest.languages:
        yield "it states no language, so no search by language finds it: train with --language"
    if not manifest.evaluation:
        yield "nothing says how good it is: train with --test, on rows that it has not seen"
    elif (rows := max(item.evaluation_set.n for item in manifest.evaluation)) < _FEW_ROWS:
        yield f"it was measured on {rows} rows alone, so its figures are unsure: measure it on more"
    if (name := repo_id.rpartition("/")[2]) != manifest.name:
        yield f"it calls itself {manifest.name} and will be found as {name}"
    if "/" not in (backbone := published_backbone(manifest.backbone.repo)) or not _is_hub_id(backbone):
        yield f"its backbone {backbone!r} is no name on the Hub: tell others where they get it"
    if unlisted := _unlisted(directory, manifest):
        yield f"{MANIFEST_FILE} does not list {', '.join(unlisted)}, so that is not sent"


def _is_hub_id(name: str) -> bool:
    try:
        check_hub_id(name)
    except BackboneError:
        return False
    return True


def _unlisted(directory: Path, manifest: Manifest) -> list[str]:
    listed = {MANIFEST_FILE, *(file.path for file in manifest.files)}
    top = {path.partition("/")[0] for path in listed}
    return sorted(path.name for path in directory.iterdir() if path.name not in top)
