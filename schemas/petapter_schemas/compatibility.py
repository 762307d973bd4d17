"""Whether a module runs on a backbone, from digests alone: what a runtime would find out after the download."""

from collections.abc import Iterable, Iterator
from typing import Literal

from petapter_schemas.module_facts import BackboneFacts
from petapter_schemas.registry_api import CompatibilityReason, LocalBackbone

Verdict = Literal["ok", "warn", "refuse"]

_MEANING = {
    "config_sha256": "the configuration differs, so layers or sizes may not fit",
    "tokenizer_sha256": "the tokenizer differs, so words and masks would be read as other tokens",
    "weights_sha256": "the weights differ, so the module's adapter and head mean nothing there",
}


def differences(needed: BackboneFacts, local: LocalBackbone) -> Iterator[CompatibilityReason]:
    """Everything that speaks against a backbone; nothing at all means that it is the one that is needed."""
    for field, meaning in _MEANING.items():
        expected, found = getattr(needed, field), getattr(local, field)
        if found is None:
            detail = "the digest of the local weights is not given, so only opening the module will tell"
            yield CompatibilityReason(verdict="warn", field=field, expected=expected, found=None, detail=detail)
        elif expected != found:
            yield CompatibilityReason(verdict="refuse", field=field, expected=expected, found=found, detail=meaning)


def verdict_of(reasons: Iterable[CompatibilityReason]) -> Verdict:
    """`refuse` when anything is the wrong one, `warn` when something cannot be known, else `ok`."""
    verdicts = {reason.verdict for reason in reasons}
    return "refuse" if "refuse" in verdicts else "warn" if verdicts else "ok"
