"""Search: finds modules on one remote by text, labels, language, backbone and measured metric."""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from huggingface_hub import ModelInfo

from petapter_hub_client.hub import asking, open_hub
from petapter_hub_client.remotes import Remote
from petapter_schemas.card_metadata import LABEL_PREFIX, MODULE_TAG, backbone_tag, label_tag, published_backbone
from petapter_schemas.errors import InputError
from petapter_schemas.references import Reference

_FINGERPRINT = re.compile(r"[0-9a-f]{16,64}")
_MAX_SCANNED = 1000
_OPERATORS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt}


@dataclass(frozen=True)
class FoundMetric:
    """A metric as a model card declares it; `n` is the number of rows, if the card says."""

    name: str
    value: float
    evaluation_set: str
    n: int | None


@dataclass(frozen=True)
class FoundModule:
    """One result; everything but the reference is the model card's claim.

    Attributes:
        reference: `remote:namespace/name`, ready to pull.
        labels: Label names as the card's tags have them (case-folded, in the order of the tags).
        languages: Language codes.
        backbone: What it was trained on.
        metrics: In the order of the card; the first one is shown.
        downloads: As the remote counts.
        updated: Time of the last commit, if known.
    """

    reference: str
    labels: tuple[str, ...]
    languages: tuple[str, ...]
    backbone: str | None
    metrics: tuple[FoundMetric, ...]
    downloads: int
    updated: datetime | None


@dataclass(frozen=True)
class MinimalMetric:
    """A bound on a metric, such as `accuracy>=0.8`."""

    name: str
    bound: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a bound.

        Raises:
            InputError: The text is no bound.
        """
        match = re.fullmatch(r"\s*([\w.-]+)\s*(>=|>)\s*(\d*\.?\d+)\s*", text)
        if match is None:
            raise InputError(f"{text!r} is no bound on a metric: write for example 'accuracy>=0.8'")
        return cls(match.group(1), match.group(2), float(match.group(3)))

    def holds(self, module: FoundModule) -> bool:
        """Whether some evaluation of the module reaches the bound."""
        reaches = _OPERATORS[self.bound]
        return any(metric.name == self.name and reaches(metric.value, self.value) for metric in module.metrics)


@dataclass(frozen=True)
class Query:
    """What to look for; all parts must hold.

    Attributes:
        text: Part of the module's name.
        labels: Label names, compared without regard to case and separators.
        languages: Language codes.
        backbone: The backbone's name, or the first 16 hex digits of the digest of its weights.
        minimal_metric: Lowest metric, checked here, not by the remote.
        limit: Most results.
    """

    text: str | None = None
    labels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    backbone: str | None = None
    minimal_metric: MinimalMetric | None = None
    limit: int = 20


def search(query: Query | str | None = None, *, remote: str | None = None) -> list[FoundModule]:
    """Find modules on one remote, the default one unless named.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    query = Query(text=query) if not isinstance(query, Query) else query
    hub = open_hub(remote)
    found: list[FoundModule] = []
    with asking(hub.remote, "the search"):
        scanned = query.limit if query.minimal_metric is None else _MAX_SCANNED
        models = hub.api.list_models(filter=_filters(query), search=query.text, cardData=True, full=True, limit=scanned)
        for model in models:
            module = _found(hub.remote, model)
            if query.minimal_metric is None or query.minimal_metric.holds(module):
                found.append(module)
            if len(found) == query.limit:
                break
    return found


def _filters(query: Query) -> list[str]:
    filters = [MODULE_TAG, *(label_tag(label) for label in query.labels), *query.languages]
    if query.backbone is not None:
        is_fingerprint = _FINGERPRINT.fullmatch(query.backbone) is not None
        name = published_backbone(query.backbone)
        filters.append(backbone_tag(query.backbone) if is_fingerprint else f"base_model:{name}")
    return filters


def _found(remote: Remote, model: ModelInfo) -> FoundModule:
    tags = model.tags or []
    card: dict[str, object] = model.card_data.to_dict() if model.card_data is not None else {}  # type: ignore[no-untyped-call]
    return FoundModule(
        reference=str(Reference(remote.name, model.id, None)),
        labels=tuple(tag.removeprefix(LABEL_PREFIX) for tag in tags if tag.startswith(LABEL_PREFIX)),
        languages=_texts(card.get("language")),
        backbone=next(iter(_texts(card.get("base_model"))), None),
        metrics=tuple(_metrics(card.get("model-index"))),
        downloads=model.downloads or 0,
        updated=model.last_modified,
    )


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str))


def _metrics(model_index: object) -> Iterable[FoundMetric]:
    """Read a card's model-index; what does not have its form is passed over, since anybody may have written it."""
    for entry in _objects(model_index):
        for result in _objects(entry.get("results")):
            dataset = result.get("dataset")
            dataset = dataset if isinstance(dataset, dict) else {}
            args = dataset.get("args")
            n = args.get("n") if isinstance(args, dict) else None
            for metric in _objects(result.get("metrics")):
                value = metric.get("value")
                if isinstance(value, int | float):
                    yield FoundMetric(
                        name=str(metric.get("type")),
                        value=float(value),
                        evaluation_set=str(dataset.get("name", "")),
                        n=n if isinstance(n, int) else None,
                    )


def _objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
