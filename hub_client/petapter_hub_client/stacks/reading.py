"""Reads stack.yaml; alone knows how it is written, and says in one line where it is wrong and what to do."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from petapter.text_yaml import TextLoader
from petapter_schemas.errors import StackError
from petapter_schemas.messages import first_problem
from petapter_schemas.stack import StackEntry, StackSpec

STACK_FILE = "stack.yaml"

_MAX_BYTES = 1 << 20
_EXAMPLE = "write 'modules:' and below it lines such as '  intents: lab:team/intents@v1.2.0'"


@dataclass(frozen=True)
class Stack:
    """A stack.yaml and what it means.

    Attributes:
        path: The file; directories are relative to its own.
        spec: The meaning.
    """

    path: Path
    spec: StackSpec

    @property
    def lock_path(self) -> Path:
        """Where its lock lies: beside it, under the same name with the ending `.lock`."""
        return self.path.with_suffix(".lock")

    def directory(self, name: str) -> Path:
        """A directory as the stack names it."""
        return self.path.parent / Path(name).expanduser()


def read_stack(path: Path) -> Stack:
    """Read a stack.

    Raises:
        StackError: The file cannot be read or is no stack.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise StackError(f"{path} is no stack: a stack is a file that ends in .yaml")
    document = _mapping(_load(path), str(path), f"{path} names no modules: {_EXAMPLE}")
    _refuse_unknown(document, ("backbone", "modules"), str(path))
    modules = _mapping(document.get("modules"), f"{path}: modules", f"{path} names no modules: {_EXAMPLE}")
    entries = tuple(
        entry for alias, value in modules.items() for entry in _entries(str(alias), value, f"{path}: modules.{alias}")
    )
    backbone = document.get("backbone")
    if "backbone" in document and (not isinstance(backbone, str) or not backbone):
        raise StackError(f"{path}: backbone must be a directory, a Hub id or minilm: write one, or drop the line")
    try:
        return Stack(path, StackSpec(backbone=backbone, modules=entries))
    except ValidationError as error:
        raise StackError(f"{path}: {first_problem(error)}") from error


def _load(path: Path) -> object:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise StackError(f"{path} has more than the {_MAX_BYTES} bytes that a stack may have: split it")
        document: object = yaml.load(data.decode("utf-8-sig"), Loader=TextLoader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError as error:
        raise StackError(f"there is no {path}: {_EXAMPLE}, or name another file") from error
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StackError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    return document


def _entries(alias: str, value: object, place: str) -> list[StackEntry]:
    """The module of an alias, or the members of the ensemble that answers by it."""
    if not isinstance(value, dict) or "members" not in value:
        return [_entry({"alias": alias}, value, place, ("module", "patterns"))]
    _refuse_unknown(value, ("members",), place)
    members = value["members"]
    if not isinstance(members, list) or not members:
        wrong = "empty" if members == [] else "no list"
        raise StackError(
            f"{place}.members is {wrong}: write '- ' and the reference or ./DIRECTORY of each member below it"
        )
    places = [f"{place}.members[{number}]" for number in range(len(members))]
    weights = [_weight(member, where) for member, where in zip(members, places, strict=True)]
    if None in weights and any(weight is not None for weight in weights):
        raise StackError(f"{places[weights.index(None)]} has no weight but others have: give one to each, or to none")
    return [
        _entry({"alias": alias, "member": number, "weight": 1.0 if weight is None else weight}, member, where, _MEMBER)
        for number, (member, weight, where) in enumerate(zip(members, weights, places, strict=True))
    ]


_MEMBER = ("module", "weight")


def _entry(known: dict[str, object], value: object, place: str, settings: tuple[str, str]) -> StackEntry:
    if isinstance(value, str) and value:
        value = {"module": value}
    remedy = f"write a reference, ./DIRECTORY, or 'module:' and '{settings[1]}:' below it"
    fields = _mapping(value, place, f"{place} names no module: {remedy}")
    _refuse_unknown(fields, settings, place)
    if "module" not in fields:
        raise StackError(f"{place} names no module: {remedy}")
    chosen = _patterns(fields["patterns"], f"{place}.patterns") if "patterns" in fields else None
    try:
        return StackEntry.model_validate({**known, "module": fields["module"], "patterns": chosen})
    except ValidationError as error:
        raise StackError(f"{place}: {first_problem(error)}") from error


def _weight(member: object, place: str) -> float | None:
    """What a member counts, if that is said."""
    if not isinstance(member, dict) or "weight" not in member:
        return None
    text = member["weight"]
    try:
        return float(text) if isinstance(text, str) else float("nan")
    except ValueError:
        raise StackError(f"{place}.weight: {text[:40]!r} is no number: write one of at least 0, such as 0.7") from None


def _patterns(value: object, place: str) -> tuple[int, ...]:
    remedy = "write the numbers of some patterns, the first being 0, for example [0, 2], or drop the line for all"
    if not isinstance(value, list) or not value:
        raise StackError(f"{place} is no list: {remedy}")
    if wrong := [item for item in value if not (isinstance(item, str) and item.isascii() and item.isdecimal())]:
        raise StackError(f"{place}: {str(wrong[0])[:40]!r} is no number of a pattern: {remedy}")
    if len(set(map(int, value))) < len(value):
        raise StackError(f"{place} names a pattern twice: name each once")
    return tuple(sorted(map(int, value)))


def _mapping(value: object, place: str, problem_if_empty: str) -> dict[object, object]:
    if value is None or value == "":
        raise StackError(problem_if_empty)
    if not isinstance(value, dict):
        raise StackError(f"{place} must hold names and values, each as 'name: value': correct it")
    if not value:
        raise StackError(problem_if_empty)
    return value


def _refuse_unknown(fields: Collection[object], known: tuple[str, ...], place: str) -> None:
    if unknown := [field for field in fields if field not in known]:
        raise StackError(f"{place}: {str(unknown[0])[:80]!r} is no setting here: use {' or '.join(known)}, or drop it")
