"""Whether a module runs on a backbone, from digests alone: what a runtime would find out after the download."""

from collections.abc import Iterator

from petapter_schemas.card_metadata import published_backbone
from petapter_schemas.module_facts import BackboneFacts, ModuleFacts
from petapter_schemas.registry_api import CompatibilityReason, LocalBackbone

_MEANING = {
    "config_sha256": "the configuration differs, so layers or sizes may not fit",
    "tokenizer_sha256": "the tokenizer differs, so words and masks would be read as other tokens",
    "weights_sha256": "the weights differ, so the module's adapter and head mean nothing there",
}


def compare(facts: ModuleFacts | None, local: LocalBackbone) -> tuple[CompatibilityReason, ...]:
    """Everything that speaks against running a module on a backbone; nothing at all means that it runs."""
    if facts is None:
        return (_reason("refuse", "module", None, "there is no module at this revision"),)
    if facts.backbone is None:
        return (_reason("warn", "backbone", local.repo, "the adapter does not say which backbone it was trained on"),)
    if facts.kind == "peft":
        return tuple(_by_name(facts.backbone, local))
    return tuple(_by_digest(facts.backbone, local))


def _by_digest(needed: BackboneFacts, local: LocalBackbone) -> Iterator[CompatibilityReason]:
    for field, meaning in _MEANING.items():
        expected, found = getattr(needed, field), getattr(local, field)
        if found is None:
            detail = "the digest of the local weights is not given, so only opening the module will tell"
            yield CompatibilityReason(verdict="warn", field=field, expected=expected, found=None, detail=detail)
        elif expected != found:
            yield CompatibilityReason(verdict="refuse", field=field, expected=expected, found=found, detail=meaning)


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


def verdict_of(reasons: tuple[CompatibilityReason, ...]) -> str:
    """`refuse` when anything is the wrong one, `warn` when something cannot be known, else `ok`."""
    verdicts = {reason.verdict for reason in reasons}
    return "refuse" if "refuse" in verdicts else "warn" if verdicts else "ok"
