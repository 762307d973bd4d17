# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""Measures a published module on the rows of an evaluation set, here, and hands in what came out, signed.

For rows that a registry does not have: whoever has them says what its workers cannot. The rows stay on this machine.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.evaluation_sets import check_evaluation_rows, pull_evaluation_set, show_evaluation_set
from petapter_hub_client.fetching import PulledModule, is_local_module, pull
from petapter_hub_client.hub import open_hub, require_token
from petapter_hub_client.local_runs import load_backbone, shared_backbone
from petapter_hub_client.native import tell
from petapter_hub_client.remotes import find_remote
from petapter_hub_client.signing.verbs import AskPassphrase, open_signing_key
from petapter_schemas.ed25519 import public_pem, sign_payload
from petapter_schemas.errors import DataError, InputError, InvalidReferenceError
from petapter_schemas.evaluation_api import EvaluationSetFacts
from petapter_schemas.evaluation_result import DEFAULT_TOLERANCE, EvaluationDetail, EvaluationStatement, are_within
from petapter_schemas.evaluation_rows import ROWS_FILE
from petapter_schemas.manifest import EvaluationSet, Manifest
from petapter_schemas.measuring_api import EvaluationState
from petapter_schemas.references import Reference


@dataclass(frozen=True)
class MeasureOptions:
    """What a module is measured with.

    Attributes:
        rows: CSV with a header or JSON Lines; None for those that the registry has.
        backbone: As `--backbone` takes it; None for the module's own.
        device: Where it runs.
        tolerance: By how much a figure may differ from the declared one.
    """

    rows: Path | None = None
    backbone: str | None = None
    device: str | None = None
    tolerance: float = DEFAULT_TOLERANCE


@dataclass(frozen=True)
class MeasuredModule:
    """What a module was measured to be.

    Attributes:
        reference: Of the module, with its version.
        evaluation_set: `namespace/name@version` of the rows.
        statement: What there is to sign.
    """

    reference: str
    evaluation_set: str
    statement: EvaluationStatement

    @property
    def detail(self) -> EvaluationDetail:
        """The figures, each beside the declared one."""
        return self.statement.detail

    @property
    def is_within(self) -> bool | None:
        """Whether every declared figure came out again; None where the module declares none on these rows."""
        return are_within(self.detail.figures, self.detail.tolerance)


@dataclass(frozen=True)
class HandedIn:
    """A result that a registry took.

    Attributes:
        measured: What was signed.
        key: Name of the key that signed.
        state: What the registry makes of it, by its own tolerance.
    """

    measured: MeasuredModule
    key: str
    state: EvaluationState


def measure_on_set(evaluation_set: str, module: str, *, options: MeasureOptions | None = None) -> MeasuredModule:
    """Measure a published module on exactly the rows of an evaluation set; golden outputs first.

    Args:
        evaluation_set: `[remote:]namespace/name[@version]`.
        module: `[remote:]namespace/name[@revision]` on the same registry.
        options: Where the rows are.

    Raises:
        InputError: One of them cannot be meant.
        DataError: The rows are not here, and not on the registry either.
        DigestMismatchError: The rows are not those of the set.
        ModuleError: The module must not be used, or does not answer as it should.
        BackboneError: The backbone cannot be had, or is another one.
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    return _Asked.of(evaluation_set, module, options or MeasureOptions()).measured()


def hand_in(
    evaluation_set: str,
    module: str,
    *,
    options: MeasureOptions | None = None,
    key: str | None = None,
    passphrase: AskPassphrase | None = None,
) -> HandedIn:
    """Measure a module as `measure_on_set` does, sign what came out, and give it to the registry.

    Args:
        evaluation_set: `[remote:]namespace/name[@version]`.
        module: `[remote:]namespace/name[@revision]` on the same registry.
        options: Where the rows are.
        key: Name of an own key; None for the only one.
        passphrase: Called where the key has one.

    Raises:
        InputError: As `measure_on_set`; or the key cannot be used, or the module declares nothing on these rows.
        AuthenticationError: There is no token that writes.
        PetapterError: As `measure_on_set`.
    """
    signer, secret = open_signing_key(key, passphrase)
    asked = _Asked.of(evaluation_set, module, options or MeasureOptions())
    hub = open_hub(asked.remote)
    require_token(hub)
    asked.require_declared()
    measured = asked.measured()
    envelope = sign_payload(measured.statement.to_bytes(), secret)
    body = {"envelope": envelope.to_bytes().decode(), "public_key": public_pem(secret.public_key()).decode()}
    path = f"/modules/{measured.detail.repository}/evaluations"
    return HandedIn(measured, signer.name, tell(hub, "POST", path, EvaluationState, body=body))


@dataclass(frozen=True)
class _Asked:
    """A module and the set to measure it on, both known to the registry."""

    remote: str
    repo_id: str
    module: PulledModule
    facts: EvaluationSetFacts
    options: MeasureOptions

    @classmethod
    def of(cls, evaluation_set: str, module: str, options: MeasureOptions) -> "_Asked":
        if is_local_module(module):
            raise InputError(
                f"{module!r} is a directory: a result is of a published module; 'petapter evaluate' measures this one"
            )
        of_set, of_module = Reference.parse(evaluation_set), Reference.parse(module)
        remote = find_remote(of_module.remote).name
        if find_remote(of_set.remote).name != remote:
            raise InvalidReferenceError(
                f"{evaluation_set!r} and {module!r} are on different remotes: a registry takes results on its own sets"
            )
        facts = show_evaluation_set(evaluation_set)
        return cls(remote, of_module.repo_id, pull(module), facts, options)

    @property
    def manifest(self) -> Manifest:
        return self.module.manifest

    def require_declared(self) -> None:
        """Refuse before minutes of work what the registry would refuse after them."""
        if not any(each.evaluation_set.sha256 == self.facts.rows_sha256 for each in self.manifest.evaluation):
            raise InputError(
                f"{self.module.reference} declares no figure on the rows of {self.facts.id} {self.facts.version}, so "
                "that there is nothing to reproduce or dispute: 'petapter evalset verify' measures it all the same"
            )

    def measured(self) -> MeasuredModule:
        from petapter.measuring import measure_module

        named = f"{self.facts.id}@{self.facts.version}"
        rows_meant = EvaluationSet(
            name=self.facts.id, sha256=self.facts.rows_sha256, split=self.facts.split, n=self.facts.n
        )
        with self._rows(f"{self.remote}:{named}") as rows:
            resolved = shared_backbone(self.options.backbone, [self.manifest])
            backbone = load_backbone(resolved, device=self.options.device)
            found = measure_module(backbone, self.module.directory, rows, rows_meant)
        detail = EvaluationDetail.of(found, self.manifest, repository=self.repo_id, tolerance=self.options.tolerance)
        statement = EvaluationStatement.about(self.manifest, self.module.digest, detail)
        return MeasuredModule(self.module.reference, named, statement)

    @contextmanager
    def _rows(self, reference: str) -> Iterator[Path]:
        """The file of the rows, which are compared with the set's digest before anything is loaded."""
        if self.options.rows is not None:
            check_evaluation_rows(reference, self.options.rows)
            yield self.options.rows
            return
        if self.facts.rows_bytes is None:
            raise DataError(
                f"the rows of {self.facts.id} {self.facts.version} are not on the registry: give yours with --rows"
            )
        with tempfile.TemporaryDirectory(prefix="petapter-rows-") as folder:
            yield pull_evaluation_set(reference, Path(folder) / "set").directory / ROWS_FILE
