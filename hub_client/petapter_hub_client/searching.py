"""Search: finds modules on one remote by text, labels, language, backbone and measured metric."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, overload

from huggingface_hub import ModelInfo

from petapter_hub_client.html_tables import html_table
from petapter_hub_client.hub import Hub, asking, open_hub
from petapter_hub_client.native import NoNativeApiError, OtherNativeApiError, ask
from petapter_hub_client.remotes import Remote
from petapter_schemas import registry_api
from petapter_schemas.card_metadata import LABEL_PREFIX, MODULE_TAG, backbone_tag, label_tag, published_backbone
from petapter_schemas.metric_bound import MetricBound
from petapter_schemas.references import Reference
from petapter_schemas.registry_api import ModulePage

_FINGERPRINT = re.compile(r"[0-9a-f]{16,64}")
_MAX_SCANNED = 1000
_PAGE = 100
_LOG = logging.getLogger(__name__)

SHOWN_COLUMNS = ("reference", "labels", "language", "backbone", "metric", "updated")
_SHOWN_LABELS = 3

LabelMatch = Literal["superset", "exact", "mappable"]


@dataclass(frozen=True)
class FoundMetric:
    """A measured figure; on a registry of the verified manifest, elsewhere as a model card declares it.

    Attributes:
        n: Number of rows, if the card says.
        sha256: Digest of the rows, if the card says.
        status: What it is worth on a registry: declared, reproduced, verified or disputed.
    """

    name: str
    value: float
    evaluation_set: str
    n: int | None
    sha256: str | None = None
    status: str | None = None

    def __str__(self) -> str:
        """For people."""
        rows = f", n={self.n}" if self.n is not None else ""
        status = f", {self.status}" if self.status not in {None, "declared"} else ""
        return f"{self.name} {self.value:.3f} ({self.evaluation_set}{rows}{status})"

    def keeps(self, bound: MetricBound) -> bool:
        """Whether this is the figure that a bound is about, and keeps to it."""
        same_rows = bound.rows is None or bound.rows.casefold() == self.evaluation_set.casefold()
        same_bytes = bound.sha256 is None or (self.sha256 or "").startswith(bound.sha256)
        return self.name == bound.metric and same_rows and same_bytes and bound.keeps(self.value)


@dataclass(frozen=True)
class FoundModule:
    """One result. A registry derives it from the verified module, elsewhere it is the model card's claim.

    Attributes:
        reference: `remote:namespace/name`, ready to pull.
        labels: Label names in the module's order; on the Hub as the card's tags have them, case-folded.
        languages: Language codes.
        backbone: What it was trained on.
        metrics: In the order of the card; the first one is shown.
        downloads: As the remote counts.
        updated: Time of the last commit, if known; on a registry, of the version.
        version: The version that was found, where the remote says.
    """

    reference: str
    labels: tuple[str, ...]
    languages: tuple[str, ...]
    backbone: str | None
    metrics: tuple[FoundMetric, ...]
    downloads: int
    updated: datetime | None
    version: str | None = None

    def __repr__(self) -> str:
        """Short enough for a notebook."""
        labels = _shortened(self.labels)
        return f"FoundModule({self.reference!r}, labels={labels!r}, backbone={self.backbone!r})"

    def shown_row(self) -> tuple[str, ...]:
        """What people see of it, under `SHOWN_COLUMNS`."""
        return (
            self.reference,
            _shortened(self.labels),
            ", ".join(self.languages),
            self.backbone or "",
            str(self.metrics[0]) if self.metrics else "",
            self.updated.date().isoformat() if self.updated else "",
        )


@dataclass(frozen=True)
class Query:
    """What to look for; all parts must hold.

    Attributes:
        text: Part of the module's name; on a registry, words that begin words of its name, labels or description.
        labels: Label names, compared without regard to case and separators.
        label_match: `superset`: the module has all labels; registries alone know `exact` (these and no others) and
            `mappable` (as many).
        languages: Language codes.
        backbone: The backbone's name, or the first 16 hex digits of the digest of its weights.
        verified: Whether the figures that bounds are about, or one of the module's, must have been measured again by a
            worker of the registry; registries alone know.
        bounds: On figures; the Hub cannot check them, so they are checked here.
        limit: Most results.
    """

    text: str | None = None
    labels: tuple[str, ...] = ()
    label_match: LabelMatch = "superset"
    languages: tuple[str, ...] = ()
    backbone: str | None = None
    bounds: tuple[MetricBound, ...] = ()
    verified: bool = False
    limit: int = 20


@dataclass(frozen=True)
class FoundModules(Sequence[FoundModule]):
    """What a search found, in the remote's order; a notebook shows it as a table."""

    modules: tuple[FoundModule, ...]

    def __len__(self) -> int:
        return len(self.modules)

    @overload
    def __getitem__(self, index: int) -> FoundModule: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FoundModule]: ...
    def __getitem__(self, index: int | slice) -> FoundModule | Sequence[FoundModule]:
        return self.modules[index]

    def __repr__(self) -> str:
        """One line per module."""
        return "\n".join(map(repr, self.modules)) or "no modules"

    def _repr_html_(self) -> str:
        return html_table(SHOWN_COLUMNS, [module.shown_row() for module in self.modules])


def search(query: Query | str | None = None, *, remote: str | None = None) -> FoundModules:
    """Find modules on one remote, the default one unless named.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    query = Query(text=query) if not isinstance(query, Query) else query
    hub = open_hub(remote)
    try:
        return FoundModules(tuple(_search_registry(hub, query)))
    except NoNativeApiError as error:
        if query.label_match != "superset" or query.verified:
            raise
        if isinstance(error, OtherNativeApiError):
            _LOG.warning("%s; until then only names and the tags of model cards are searched", error)
    return FoundModules(tuple(_search_hub(hub, query)))


def _search_registry(hub: Hub, query: Query) -> Iterator[FoundModule]:
    parameters = _parameters(query)
    cursor: str | None = None
    left = query.limit
    while left > 0:
        page_parameters = [*parameters, ("limit", min(left, _PAGE)), *([("cursor", cursor)] if cursor else [])]
        page = ask(hub, "/modules", ModulePage, parameters=page_parameters)
        yield from (_shown(hub.remote, module) for module in page.modules)
        left -= len(page.modules)
        cursor = page.next
        if cursor is None:
            return


def _parameters(query: Query) -> list[tuple[str, str | int]]:
    parameters: list[tuple[str, str | int]] = [("kind", "petapter")]
    if query.text:
        parameters.append(("text", query.text))
    if query.labels:
        parameters.append(("labels", query.label_match))
    parameters += [("label", label) for label in query.labels]
    parameters += [("language", language) for language in query.languages]
    parameters += [("where", str(bound)) for bound in query.bounds]
    parameters += [("status", "verified")] if query.verified else []
    if query.backbone is not None:
        is_fingerprint = _FINGERPRINT.fullmatch(query.backbone) is not None
        parameters.append(("weights" if is_fingerprint else "backbone", query.backbone))
    return parameters


def _shown(remote: Remote, module: registry_api.FoundModule) -> FoundModule:
    facts = module.facts
    return FoundModule(
        reference=str(Reference(remote.name, module.id, None)),
        labels=facts.labels,
        languages=facts.languages,
        backbone=facts.backbone.repo if facts.backbone else None,
        metrics=tuple(
            FoundMetric(figure.metric, figure.value, figure.evaluation_set, figure.n, figure.sha256, figure.status)
            for figure in facts.metrics
        ),
        downloads=0,
        updated=datetime.fromisoformat(module.updated),
        version=module.version,
    )


def _search_hub(hub: Hub, query: Query) -> list[FoundModule]:
    found: list[FoundModule] = []
    with asking(hub.remote, "the search"):
        scanned = _MAX_SCANNED if query.bounds else query.limit
        models = hub.api.list_models(filter=_filters(query), search=query.text, cardData=True, full=True, limit=scanned)
        for model in models:
            module = _found(hub.remote, model)
            if all(any(metric.keeps(bound) for metric in module.metrics) for bound in query.bounds):
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
                        sha256=str(dataset.get("revision") or "") or None,
                    )


def _objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _shortened(labels: Sequence[str]) -> str:
    more = len(labels) - _SHOWN_LABELS
    return ", ".join(labels[:_SHOWN_LABELS]) + (f", {more} more" if more > 0 else "")
