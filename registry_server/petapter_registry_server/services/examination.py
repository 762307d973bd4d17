"""What a tree of files is: a module that must verify completely, or plain files; and what search may know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from petapter_registry_server.card import Card, read_card
from petapter_registry_server.db.tables import ManifestRow
from petapter_registry_server.errors import ContentRefusedError
from petapter_registry_server.tree import Tree, TreeFile
from petapter_schemas.errors import ManifestError
from petapter_schemas.file_contents import MAX_CARD_BYTES
from petapter_schemas.manifest import MANIFEST_FILE, Manifest
from petapter_schemas.module_files import CARD_FILE, StoredFile, verify_module
from petapter_schemas.names import label_key

_LOADED_SUFFIXES = {".safetensors", ".json"}

Locate = Callable[[TreeFile], Path]
"""Where the bytes of a file lie on this machine."""


@dataclass(frozen=True)
class Examined:
    """What was found: the card, and the manifest when the tree is a module."""

    card: Card
    manifest: Manifest | None

    def search_text(self, full_name: str) -> str:
        """What a search looks through: name, description, labels and tags, case-folded."""
        words = [full_name, *self.card.tags]
        if self.manifest is not None:
            words.append(self.manifest.description)
            for label in self.manifest.task.label_names:
                words.extend((label, label_key(label)))
        return "\n".join(words).casefold()


def examine(tree: Tree, locate: Locate) -> Examined:
    """Check a tree as a whole.

    Raises:
        ModuleError: It has a petapter.json and does not verify.
        ContentRefusedError: README.md is too long, or its metadata cannot be read.
    """
    manifest = _verify(tree, locate) if MANIFEST_FILE in tree else None
    return Examined(_card(tree, locate), manifest)


def _verify(tree: Tree, locate: Locate) -> Manifest:
    stored = {path: StoredFile(locate(file), file.size, file.sha256) for path, file in tree.items()}
    manifest = verify_module(stored)
    listed = {file.path for file in manifest.files} | {MANIFEST_FILE}
    for path in tree:
        if path not in listed and PurePosixPath(path).suffix.lower() in _LOADED_SUFFIXES:
            raise ManifestError(f"{path} is not listed in {MANIFEST_FILE}, but libraries would load it: delete it")
    return manifest


def _card(tree: Tree, locate: Locate) -> Card:
    file = tree.get(CARD_FILE)
    if file is None:
        return Card()
    if file.size > MAX_CARD_BYTES:
        raise ContentRefusedError(f"{CARD_FILE} has {file.size} bytes; up to {MAX_CARD_BYTES} are allowed")
    return read_card(locate(file).read_text(encoding="utf-8"))


def manifest_row(commit_oid: str, digest: str, manifest: Manifest) -> ManifestRow:
    """The index row of a verified module; `digest` is the sha256 of its petapter.json."""
    return ManifestRow(
        commit_oid=commit_oid,
        digest=digest,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        languages=list(manifest.languages),
        labels=list(manifest.task.label_names),
        metrics=[evaluation.model_dump(mode="json") for evaluation in manifest.evaluation],
    )
