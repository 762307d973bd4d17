"""The facts of a tree, read from its own files: a verified module's, a plain peft adapter's, or none."""

from petapter_registry_server.errors import ContentRefusedError
from petapter_registry_server.services.examination import Locate
from petapter_registry_server.tree import Tree
from petapter_schemas import strict_json
from petapter_schemas.adapter_files import ADAPTER_CONFIG_FILE, PEFT_TYPES
from petapter_schemas.errors import ManifestError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest
from petapter_schemas.module_facts import BackboneFacts, ModuleFacts, facts_of_manifest

_KINDS = {peft_type: kind for kind, peft_type in PEFT_TYPES.items()}
_MAX_NAME = 300


def derive_facts(tree: Tree, manifest: Manifest | None, locate: Locate) -> ModuleFacts | None:
    """What is known of a checked tree; None when it holds neither a module nor an adapter.

    Args:
        tree: All files.
        manifest: What `examine` verified, if the tree is a module.
        locate: Finds the bytes of a file.

    Raises:
        ContentRefusedError: There is an adapter_config.json that is no JSON object with a peft_type.
    """
    if manifest is not None:
        stored = tree[MANIFEST_FILE]
        return facts_of_manifest(manifest, digest=stored.sha256, manifest_bytes=stored.size)
    if ADAPTER_CONFIG_FILE not in tree:
        return None
    config = _read_config(tree, locate)
    peft_type, base, revision = (config.get(key) for key in ("peft_type", "base_model_name_or_path", "revision"))
    if not isinstance(peft_type, str) or not peft_type:
        raise ContentRefusedError(f"{ADAPTER_CONFIG_FILE} names no peft_type: save the adapter with peft")
    return ModuleFacts(
        kind="peft",
        adapter_kind=_KINDS.get(peft_type, peft_type.lower()[:_MAX_NAME]),
        backbone=_backbone(base, revision),
        size_bytes=sum(file.size for file in tree.values()),
    )


def _read_config(tree: Tree, locate: Locate) -> dict[str, object]:
    file = tree[ADAPTER_CONFIG_FILE]
    if file.size > strict_json.MAX_JSON_BYTES:
        raise ContentRefusedError(f"{ADAPTER_CONFIG_FILE} has {file.size} bytes: up to {strict_json.MAX_JSON_BYTES}")
    try:
        config = strict_json.loads(locate(file).read_bytes(), source=ADAPTER_CONFIG_FILE)
    except ManifestError as error:
        raise ContentRefusedError(str(error)) from error
    if not isinstance(config, dict):
        raise ContentRefusedError(f"{ADAPTER_CONFIG_FILE} must hold a JSON object")
    return config


def _backbone(base: object, revision: object) -> BackboneFacts | None:
    if not isinstance(base, str) or not base:
        return None
    return BackboneFacts(repo=base[:_MAX_NAME], revision=revision if isinstance(revision, str) and revision else None)
