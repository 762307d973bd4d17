"""Whether a module, or a plain peft adapter, runs on a backbone: from digests, or where there are none from names."""

from collections.abc import Iterator

from petapter_schemas.card_metadata import published_backbone
from petapter_schemas.compatibility import differences
from petapter_schemas.module_facts import BackboneFacts, ModuleFacts
from petapter_schemas.registry_api import CompatibilityReason, LocalBackbone


def compare(facts: ModuleFacts | None, local: LocalBackbone) -> tuple[CompatibilityReason, ...]:
    """Everything that speaks against running a module on a backbone; nothing at all means that it runs."""
    if facts is None:
        return (_reason("refuse", "module", None, "there is no module at this revision"),)
    if facts.backbone is None:
        return (_reason("warn", "backbone", local.repo, "the adapter does not say which backbone it was trained on"),)
    if facts.kind == "peft":
        return tuple(_by_name(facts.backbone, local))
    return tuple(differences(facts.backbone, local))


def _by_name(needed: BackboneFacts, local: LocalBackbone) -> Iterator[CompatibilityReason]:
    """A plain peft adapter names its backbone and has no digests."""
    if local.repo is not None and published_backbone(local.repo).casefold() != needed.repo.casefold():
        detail = f"the adapter was trained on {needed.repo}"
        yield CompatibilityReason(verdict="refuse", field="repo", expected=needed.repo, found=local.repo, detail=detail)
        return
    detail = "a plain peft adapter has no digests: only the name of the backbone could be compared"
    yield CompatibilityReason(verdict="warn", field="digests", expected=None, found=local.repo, detail=detail)


def _reason(verdict: str, field: str, found: str | None, detail: str) -> CompatibilityReason:
    return CompatibilityReason.model_validate(
        {"verdict": verdict, "field": field, "expected": None, "found": found, "detail": detail}
    )
