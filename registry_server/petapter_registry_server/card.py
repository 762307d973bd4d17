"""The model card README.md: its YAML metadata, and the tags that the Hub's search derives from it."""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from petapter_registry_server.errors import ContentRefusedError
from petapter_schemas.strict_json import check_depth

MAX_TAGS = 1000
_FENCE = "---"


@dataclass(frozen=True)
class Card:
    """A card's metadata as JSON values."""

    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def library_name(self) -> str | None:
        """The library that opens the model."""
        return _text(self.data.get("library_name"))

    @property
    def pipeline_tag(self) -> str | None:
        """The task in the Hub's words, such as text-classification."""
        return _text(self.data.get("pipeline_tag"))

    @property
    def base_models(self) -> list[str]:
        """Ids of the models that this one was made from."""
        return _texts(self.data.get("base_model"))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that list_models filters on, in the Hub's forms, each once."""
        return tuple(dict.fromkeys(_tags(self)))[:MAX_TAGS]


def read_card(text: str) -> Card:
    """Read the YAML between the first two lines `---`; a text that does not begin with one has no metadata.

    Raises:
        ContentRefusedError: The YAML cannot be read, or is no mapping.
    """
    source = _front_matter(text)
    if source is None:
        return Card()
    try:
        data = yaml.load(source, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader that refuses aliases as well)
        plain = _plain({} if data is None else data)
        check_depth(plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ContentRefusedError(f"README.md: the YAML metadata cannot be read: {_one_line(error)}") from error
    if not isinstance(plain, dict):
        raise ContentRefusedError("README.md: the YAML metadata must be a mapping such as 'license: apache-2.0'")
    return Card(plain)


def _front_matter(text: str) -> str | None:
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return None
    ends = [number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == _FENCE]
    return "\n".join(lines[1 : ends[0]]) if ends else None


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: ten lines of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 (PyYAML's own)
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def _plain(value: object) -> Any:  # noqa: ANN401 (any JSON value)
    """YAML values as JSON values: dates as text, keys as text, no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        value.encode()  # a lone surrogate, which YAML can escape, is no text that could be stored
        if "\0" in value:
            raise ValueError("a text with a zero byte cannot be stored")
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"a value of type {type(value).__name__} is not allowed")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or "nested too deeply"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]


def _tags(card: Card) -> Iterator[str]:
    data = card.data
    yield from _texts(data.get("library_name"))
    yield from _texts(data.get("tags"))
    yield from _texts(data.get("pipeline_tag"))
    yield from _texts(data.get("language"))
    yield from (f"dataset:{name}" for name in _texts(data.get("datasets")))
    relation = _text(data.get("base_model_relation")) or ("adapter" if card.library_name == "peft" else None)
    for name in card.base_models:
        yield f"base_model:{name}"
        if relation:
            yield f"base_model:{relation}:{name}"
    yield from (f"license:{name}" for name in _texts(data.get("license")))
