"""Whether a module runs on a backbone of this machine, told from its manifest before any of its weights is fetched."""

from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.local_backbones import ResolvedBackbone, find_here
from petapter_schemas.compatibility import Verdict, differences, verdict_of
from petapter_schemas.errors import BackboneError, BackboneMismatchError
from petapter_schemas.fingerprints import backbone_digests, config_sha256, tokenizer_sha256
from petapter_schemas.manifest import Manifest
from petapter_schemas.module_facts import BackboneFacts
from petapter_schemas.registry_api import LocalBackbone


@dataclass(frozen=True)
class Fit:
    """A verdict about a module and a backbone.

    Attributes:
        backbone: As the backbone is called here.
        directory: Where it lies; None where it is not on this machine, so that there is no verdict.
        verdict: `warn` where the weights were not compared, which are long to read.
        reason: Of `refuse`.
    """

    backbone: str
    directory: Path | None
    verdict: Verdict
    reason: str | None = None

    def __str__(self) -> str:
        """For people."""
        if self.directory is None:
            return f"{self.backbone}, which is not on this machine yet"
        how = {
            "ok": "on which it runs: all digests are the same",
            "warn": "on which it should run: configuration and tokenizer are the same",
            "refuse": f"on which it does NOT run: {self.reason}",
        }[self.verdict]
        return f"{self.backbone} in {self.directory}, {how}"


def require_fit(manifest: Manifest, backbone: str) -> Fit:
    """Compare a module with a backbone that was asked for, with all digests.

    Raises:
        BackboneError: It is not on this machine, or broken.
        BackboneMismatchError: The module does not run on it.
    """
    found = find_here(backbone, revision=manifest.backbone.revision if backbone == manifest.backbone.repo else None)
    if found is None:
        raise BackboneError(
            f"backbone {backbone!r} is not on this machine, so nothing can be compared with it: leave --backbone out, "
            "or give a directory"
        )
    config, weights, tokenizer = backbone_digests(found.directory)
    fit = _compare(
        manifest, found, LocalBackbone(config_sha256=config, tokenizer_sha256=tokenizer, weights_sha256=weights)
    )
    if fit.verdict == "refuse":
        raise BackboneMismatchError(
            f"{manifest.name} {manifest.version} was trained on {manifest.backbone.repo!r} and does not run on "
            f"{backbone!r}: {fit.reason}; none of its weights was fetched"
        )
    return fit


def likely_fit(manifest: Manifest) -> Fit:
    """Compare a module with the backbone that it names, if that is on this machine; its weights are not read."""
    named = manifest.backbone
    try:
        found = find_here(named.repo, revision=named.revision)
        if found is None:
            return Fit(named.repo, None, "warn")
        config = config_sha256(found.directory / "config.json")
        tokenizer = tokenizer_sha256(found.directory / "tokenizer.json")
    except BackboneError:  # no name of a backbone, or a broken one: whoever runs the module is told
        return Fit(named.repo, None, "warn")
    return _compare(manifest, found, LocalBackbone(config_sha256=config, tokenizer_sha256=tokenizer))


def _compare(manifest: Manifest, found: ResolvedBackbone, local: LocalBackbone) -> Fit:
    reasons = tuple(differences(BackboneFacts.of(manifest.backbone), local))
    refused = "; ".join(reason.detail for reason in reasons if reason.verdict == "refuse")
    return Fit(found.repo, found.directory, verdict_of(reasons), refused or None)
