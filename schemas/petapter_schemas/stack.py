"""A stack: the modules served together as stack.yaml names them, and as stack.lock fixes them, format version 1.

Modules that answer together under one alias stand one after the other, each with its number and what it counts.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Annotated, Literal, Protocol, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import InputError, ManifestError, StackError
from petapter_schemas.frozen import Frozen
from petapter_schemas.manifest import RequiredText, ShortText
from petapter_schemas.merge_spec import MAX_MEMBERS
from petapter_schemas.messages import first_problem
from petapter_schemas.names import ONE_LINE, ModuleName
from petapter_schemas.references import Reference

MAX_LOCK_BYTES = 8 << 20
"""Room for some ten thousand modules."""

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Place = Annotated[str, StringConstraints(min_length=1, max_length=1000), ONE_LINE]
_DIRECTORY = re.compile(r"[./\\]|(~|[A-Za-z]:)[/\\]")


def _ascending(patterns: tuple[int, ...]) -> tuple[int, ...]:
    if list(patterns) != sorted(set(patterns)):
        raise ValueError("patterns must be named once each, in ascending order")
    return patterns


PatternNumber = Annotated[int, Field(ge=0, lt=64)]  # a task has at most 64
PatternChoice = Annotated[tuple[PatternNumber, ...], Field(min_length=1), AfterValidator(_ascending)]


def is_directory_name(name: str) -> bool:
    """Whether a stack means a directory by a name, whatever lies on this machine: `./x`, `../x`, `/x`, `~/x`."""
    return _DIRECTORY.match(name) is not None


MemberNumber = Annotated[int, Field(ge=0, lt=MAX_MEMBERS)]
StackWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_OF_MEMBERS = ("member", "weight")
"""Written where modules answer together, and only there."""


class _Part(Protocol):
    """What tells a module of a stack from the others."""

    @property
    def alias(self) -> str: ...
    @property
    def member(self) -> int | None: ...
    @property
    def weight(self) -> float | None: ...
    @property
    def patterns(self) -> tuple[int, ...] | None: ...


def _name(part: _Part) -> str:
    return part.alias if part.member is None else f"{part.alias}/{part.member}"


class StackEntry(Frozen):
    """A module of a stack: what it goes by, its directory or reference, and which of its patterns are asked.

    Attributes:
        alias: That of a member is the one of its ensemble.
        patterns: Numbers from 0, ascending; None for all, and of members.
        member: The number of a member in its ensemble, from 0; None for a module that answers alone.
        weight: What a member counts; only the ratios matter. None for a module that answers alone.
    """

    alias: ModuleName
    module: Place
    patterns: PatternChoice | None = None
    member: MemberNumber | None = None
    weight: StackWeight | None = None

    @property
    def name(self) -> str:
        """The alias or, of a member, the alias and its number."""
        return _name(self)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_what_is_of_members(write(self))

    @model_validator(mode="after")
    def _counts_as_a_member(self) -> Self:
        _check_counts(self)
        return self

    @field_validator("module")
    @classmethod
    def _names_a_module(cls, name: str) -> str:
        if not is_directory_name(name):
            try:
                Reference.parse(name)
            except InputError as error:
                raise ValueError(f"{error}; a directory is written ./{name}") from error
        return name


class StackSpec(Frozen):
    """What a stack.yaml means: comments, layout and the order of `patterns` are gone, the order of modules counts.

    Attributes:
        backbone: A directory, a Hub id or `minilm`; None for the one that all modules name.
    """

    backbone: Place | None = None
    modules: tuple[StackEntry, ...] = Field(min_length=1)

    @field_validator("modules")
    @classmethod
    def _each_alias_once(cls, modules: tuple[StackEntry, ...]) -> tuple[StackEntry, ...]:
        _check_aliases(modules)
        return modules

    @property
    def sha256(self) -> str:
        """Digest of the canonical JSON of this value, by which a lock knows its stack."""
        return strict_json.canonical_sha256(self.model_dump(mode="json"))


class LockedBackbone(Frozen):
    """The backbone of a locked stack; the digests are those of manifests."""

    repo: RequiredText
    revision: ShortText | None
    architecture: RequiredText
    config_sha256: Sha256
    weights_sha256: Sha256
    tokenizer_sha256: Sha256


class LockedModule(Frozen):
    """A module of a locked stack.

    Attributes:
        alias: What it goes by.
        asked: Its directory or reference as stack.yaml has it.
        reference: With remote and revision, as it was resolved; None for a directory, like `url` and `commit`.
        url: The address of the remote when it was resolved; information only.
        commit: What is fetched.
        digest: sha256 of petapter.json, which names every byte of the module; of an ensemble's directory, of
            ensemble.json, which names every byte of it.
        patterns: As in stack.yaml, like `member` and `weight`.
    """

    alias: ModuleName
    asked: Place
    reference: Place | None
    url: Place | None
    commit: Commit | None
    digest: Sha256
    patterns: PatternChoice | None
    member: MemberNumber | None = None
    weight: StackWeight | None = None

    @property
    def name(self) -> str:
        """The alias or, of a member, the alias and its number."""
        return _name(self)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_what_is_of_members(write(self))

    @model_validator(mode="after")
    def _is_here_or_there(self) -> Self:
        _check_counts(self)
        known = {self.reference is None, self.url is None, self.commit is None}
        if known != {is_directory_name(self.asked)}:
            raise ValueError("reference, url and commit are null for a directory, and only there")
        if self.reference is not None:
            try:
                parsed = Reference.parse(self.reference)
            except InputError as error:
                raise ValueError(str(error)) from error
            if parsed.remote is None or parsed.revision is None:
                raise ValueError("a locked reference names its remote and its revision")
        return self

    @property
    def exact_reference(self) -> Reference | None:
        """The remote's module at the locked commit; None for a directory."""
        if self.reference is None:
            return None
        parsed = Reference.parse(self.reference)
        return Reference(parsed.remote, parsed.repo_id, self.commit)


class StackLock(Frozen):
    """The whole lock; the modules stand in the order of stack.yaml."""

    lock_version: Literal[1] = 1  # written always; `parse_lock` refuses a lock without it
    stack_sha256: Sha256
    backbone: LockedBackbone
    modules: tuple[LockedModule, ...] = Field(min_length=1)

    @field_validator("modules")
    @classmethod
    def _each_alias_once(cls, modules: tuple[LockedModule, ...]) -> tuple[LockedModule, ...]:
        _check_aliases(modules)
        return modules

    def is_of(self, spec: StackSpec) -> bool:
        """Whether it was made for this stack and lists what that lists."""
        listed = [(each.name, each.asked, each.patterns, each.weight) for each in self.modules]
        meant = [(each.name, each.module, each.patterns, each.weight) for each in spec.modules]
        return self.stack_sha256 == spec.sha256 and listed == meant


def parse_lock(data: bytes, *, source: str) -> StackLock:
    """Read a lock from the bytes of its file.

    Args:
        data: The bytes.
        source: The name of the file, for messages.

    Raises:
        StackError: They are no lock of format version 1.
    """
    remedy = "delete it and run 'petapter stack lock', or take it from your version control"
    try:
        document = strict_json.loads(data, source=source, max_bytes=MAX_LOCK_BYTES)
    except ManifestError as error:
        raise StackError(f"{error}: {remedy}") from error
    version = document.get("lock_version") if isinstance(document, dict) else None
    if type(version) is not int:
        raise StackError(f"{source} is no lock of a stack, as it has no lock_version: {remedy}")
    if version > 1:
        raise StackError(f"{source} has format version {version}; this petapter reads 1: upgrade petapter")
    try:
        return StackLock.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise StackError(f"{source} is broken ({first_problem(error)}): {remedy}") from error


def lock_bytes(lock: StackLock) -> bytes:
    """The bytes of a lock's file: the same for the same lock, indented for readers and reviewers."""
    return lock.model_dump_json(indent=2).encode() + b"\n"


def _without_what_is_of_members(document: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in document.items() if key not in _OF_MEMBERS or value is not None}


def _check_counts(part: _Part) -> None:
    if (part.member is None) != (part.weight is None):
        raise ValueError("member and weight are given together, of modules that answer together")


def _check_aliases(parts: Iterable[_Part]) -> None:
    seen: set[str] = set()
    for alias, group in groupby(parts, key=lambda part: part.alias):
        together = list(group)
        if alias in seen or (len(together) > 1 and together[0].member is None):
            raise ValueError(f"the alias {alias!r} is given twice: choose another one")
        seen.add(alias)
        if together[0].member is not None:
            _check_members(alias, together)


def _check_members(alias: str, parts: list[_Part]) -> None:
    if [part.member for part in parts] != list(range(len(parts))):
        raise ValueError(f"the members of {alias!r} must be numbered 0, 1 and so on in their order")
    if len(parts) < 2:  # noqa: PLR2004 (together)
        raise ValueError(f"{alias!r} has one member: an ensemble needs two or more")
    if any(part.patterns is not None for part in parts):
        raise ValueError(f"members of {alias!r} are asked in all their patterns: drop 'patterns'")
    weights = [part.weight for part in parts if part.weight is not None]
    if len(weights) < len(parts) or not any(weights):
        raise ValueError(f"each member of {alias!r} has a weight of at least 0, and one of them more than 0")
