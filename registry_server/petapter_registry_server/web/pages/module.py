"""The page of a module at one revision, the comparison of two, and the form by which maintainers yank."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.revisions import At
from petapter_registry_server.services.roles import reaches
from petapter_registry_server.services.showing import ShownRevision
from petapter_registry_server.services.versions import VersionName
from petapter_registry_server.web.cards import Cards
from petapter_registry_server.web.drawing import lineage_graph, whisker
from petapter_registry_server.web.examples import examples
from petapter_registry_server.web.formats import segment
from petapter_registry_server.web.pages.login import SEE_OTHER
from petapter_registry_server.web.plots import plots
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Fields, SentFields, read_form
from petapter_schemas.registry_api import API, ModuleDetail, VersionState

router = page_router()

Revision = Annotated[str | None, Query(max_length=200)]


class YankForm(Fields):
    """Why a version is withdrawn."""

    reason: str = ""


def _version(namespace: Segment, name: Segment, version: Segment) -> VersionName:
    return VersionName(f"{namespace}/{name}", version)


def _repo_id(namespace: Segment, name: Segment) -> str:
    return f"{namespace}/{name}"


def _from_and_to(
    before: Annotated[str | None, Query(alias="from", max_length=200)] = None,
    after: Annotated[str | None, Query(alias="to", max_length=200)] = None,
) -> tuple[str | None, str | None]:
    return before, after


@router.get("/{namespace}/{name}")
def module_page(
    repo_id: Annotated[str, Depends(_repo_id)],
    request: Request,
    visitor: CurrentVisitor,
    services: AllServices,
    revision: Revision = None,
) -> Response:
    """Everything about a module."""
    module = services.showing.module(visitor.caller, repo_id, revision)
    shown, facts = module.shown, module.facts
    at = At(repo_id, module.revision)
    may_maintain = reaches(shown.role, "maintain")
    measured = services.evaluations
    return page(
        request,
        "module.html",
        detail=module.detail,
        shown=shown,
        facts=facts,
        revision=module.revision,
        version=_version_at(module.detail, shown),
        is_default=revision is None,
        graph=lineage_graph(module.lineage),
        examples=examples(shown.manifest, shown.probes) if shown.manifest else [],
        figures=[(figure, whisker(figure)) for figure in (facts.metrics if facts else ())],
        sets=services.leaderboards.sets_of(
            visitor.caller, {figure.sha256 for figure in (facts.metrics if facts else ())}
        ),
        plots=plots(shown.manifest, shown.plot_data) if shown.manifest else [],
        card=_card(request, shown),
        may_maintain=may_maintain,
        evaluations=measured.list(visitor.caller, repo_id, at.revision).evaluations if shown.manifest else (),
        jobs=measured.jobs(visitor.caller, repo_id).jobs if shown.manifest else (),
        choices=measured.choices(visitor.caller, at) if may_maintain and facts else (),
        may_admin=reaches(shown.role, "admin"),
        endpoint=address_of(request),
        feed=f"{API}/feeds/{'/'.join(map(segment, module.detail.id.split('/')))}",
    )


@router.get("/{namespace}/{name}/compare")
def compare_page(
    repo_id: Annotated[str, Depends(_repo_id)],
    asked: Annotated[tuple[str | None, str | None], Depends(_from_and_to)],
    request: Request,
    visitor: CurrentVisitor,
    services: AllServices,
) -> Response:
    """What differs between two versions; the last two unless named."""
    detail = services.modules.detail(visitor.caller, repo_id)
    tags = [version.tag for version in detail.versions]
    after = asked[1] or (tags[0] if tags else "main")
    before = asked[0] or next((tag for tag in tags if tag != after), after)
    diff = services.modules.diff(visitor.caller, At(repo_id, before), At(repo_id, after))
    return page(
        request, "compare.html", detail=detail, before=before, after=after, diff=diff,
        revisions=list(dict.fromkeys([*tags, "main", before, after])),
    )  # fmt: skip


@router.post("/{namespace}/{name}/versions/{version}/yank")
def yank(
    which: Annotated[VersionName, Depends(_version)],
    fields: SentFields,
    visitor: CurrentVisitor,
    services: AllServices,
) -> Response:
    """Hide a version from search and from `latest`."""
    reason = read_form(fields, YankForm).reason
    if not reason:
        raise InvalidRequestError("the field 'reason' is empty: say in a line why the version is withdrawn")
    services.versions.yank(visitor.caller, which, reason)
    return _to_versions(which)


@router.post("/{namespace}/{name}/versions/{version}/unyank")
def unyank(
    which: Annotated[VersionName, Depends(_version)], visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Show a yanked version again."""
    services.versions.unyank(visitor.caller, which)
    return _to_versions(which)


def _to_versions(which: VersionName) -> Response:
    path = "/".join(map(segment, which.repo_id.split("/")))
    return RedirectResponse(f"/{path}?revision={segment(f'v{which.version}')}#versions", status_code=SEE_OTHER)


def _version_at(detail: ModuleDetail, shown: ShownRevision) -> VersionState | None:
    return next((version for version in detail.versions if version.commit == shown.commit), None)


def _card(request: Request, shown: ShownRevision) -> str | None:
    cards: Cards = request.app.state.cards
    return cards.render(shown.card) if shown.card else None
