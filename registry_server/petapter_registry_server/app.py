"""The one place that wires the registry: settings in, an ASGI application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from petapter_registry_server import api
from petapter_registry_server.api.errors import add_error_answers
from petapter_registry_server.api.forwarded import Forwarded
from petapter_registry_server.api.metrics import Metrics, RequestMetrics
from petapter_registry_server.api.native_mark import NativeMark
from petapter_registry_server.api.raw_path import RawPathRouting
from petapter_registry_server.api.request_log import RequestLog
from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.opening import open_database
from petapter_registry_server.db.quotas import Quota
from petapter_registry_server.failpoints import Reached, nothing
from petapter_registry_server.services.access import Access
from petapter_registry_server.services.accounts import Accounts
from petapter_registry_server.services.audit_log import AuditLog
from petapter_registry_server.services.belonging import check_belonging
from petapter_registry_server.services.delivering import Delivering
from petapter_registry_server.services.device_login import DeviceLogins
from petapter_registry_server.services.downloads import Downloads
from petapter_registry_server.services.evaluation_sets import EvaluationSets
from petapter_registry_server.services.evaluations import Evaluations
from petapter_registry_server.services.feeds import Feeds
from petapter_registry_server.services.garbage import GarbageCollection
from petapter_registry_server.services.gates import Gates
from petapter_registry_server.services.identities import Identities
from petapter_registry_server.services.identity_provider import IdentityProvider
from petapter_registry_server.services.indexing import Indexing
from petapter_registry_server.services.leaderboards import Leaderboards
from petapter_registry_server.services.limits import Limits
from petapter_registry_server.services.module_search import ModuleSearch
from petapter_registry_server.services.modules import Modules
from petapter_registry_server.services.moving import Moving
from petapter_registry_server.services.namespaces import Namespaces
from petapter_registry_server.services.operations import Operations
from petapter_registry_server.services.organisations import Organisations
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.periodic import repeated
from petapter_registry_server.services.publishing import Publishing
from petapter_registry_server.services.publishing_sets import PublishingSets
from petapter_registry_server.services.quotas import Quotas
from petapter_registry_server.services.rate_limits import RateLimits, Rates
from petapter_registry_server.services.readiness import Readiness
from petapter_registry_server.services.reading import Reading
from petapter_registry_server.services.repositories import Repositories
from petapter_registry_server.services.showing import Showing
from petapter_registry_server.services.sign_in import SignIn
from petapter_registry_server.services.sign_in_settings import read_provider
from petapter_registry_server.services.signed_addresses import SignedAddresses
from petapter_registry_server.services.staged_files import StagedFiles
from petapter_registry_server.services.tokens import Tokens
from petapter_registry_server.services.trusted_publishing import TrustedPublishing
from petapter_registry_server.services.uploads import Uploads
from petapter_registry_server.services.upstream import Upstream
from petapter_registry_server.services.versions import Versions
from petapter_registry_server.services.web_sessions import WebSessions
from petapter_registry_server.services.webhooks import Webhooks
from petapter_registry_server.services.wired import Services
from petapter_registry_server.services.worker_keys import WorkerKeys
from petapter_registry_server.services.xet import Xet
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.opening import check_staging, open_checked_store, open_staging
from petapter_registry_server.storage.own_scratch import claim_scratch
from petapter_registry_server.storage.staging import Staging
from petapter_registry_server.web import all_pages
from petapter_registry_server.web.errors import page_native_or_hub
from petapter_registry_server.writes import Writes


def create_app(settings: Settings, reached: Reached = nothing) -> FastAPI:
    """The registry over one data directory, which the caller holds the lock of (`DataDirectory.locked` or `shared`).

    Raises:
        DataDirectoryError: The directory cannot be used.
        StoreError: The object store cannot be used.
        InputError: The settings of the identity provider cannot be used.
    """
    read_provider(settings)  # what is wrong with it is said before anything is made
    data = DataDirectory(settings.data)
    data.create() if settings.database else data.create_for_sqlite()
    own_scratch = None if settings.database is None else claim_scratch(data.scratch)
    scratch = own_scratch.directory if own_scratch else None
    if settings.direct_uploads:
        check_staging(settings)
    writes = Writes()
    blobs = open_checked_store(settings.data, settings.blobs, reached, scratch=scratch, writes=writes)
    if own_scratch is None:
        blobs.clear_scratch()
    database = open_database(settings, writes)
    check_belonging(database, blobs)
    services = wire(settings, database, blobs, reached, staging=open_staging(settings))
    services.indexing.fill()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.downloads.start()
        with (
            repeated("garbage collection", services.garbage.run, settings.gc_interval_s),
            repeated("webhooks", services.delivering.run, settings.webhook_interval_s),
        ):
            yield
        services.downloads.stop()
        database.close()
        if own_scratch is not None:
            own_scratch.release()

    app = FastAPI(title="petapter registry", openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.services = services
    app.state.database = database
    app.state.metrics = Metrics(database)
    api.add_routes(app)
    all_pages.add_routes(app)
    add_error_answers(app, page_native_or_hub)
    app.add_middleware(RequestMetrics, metrics=app.state.metrics)
    app.add_middleware(RawPathRouting)
    app.add_middleware(NativeMark)
    app.add_middleware(RequestLog)
    if settings.proxies:
        app.add_middleware(Forwarded, trusted=settings.proxies)
    return app


def wire(
    settings: Settings,
    database: Database,
    blobs: BlobShelf,
    reached: Reached = nothing,
    *,
    staging: Staging | None = None,
) -> Services:
    """The services over an open database."""
    access = Access(database, anonymous_may_read=settings.anonymous_may_read)
    gates = Gates(database, access)
    inline = min(settings.max_inline_bytes, settings.max_file_bytes)
    limits = Limits(settings.max_file_bytes, inline, settings.max_commit_bytes, settings.max_tree_files)
    staged = StagedFiles(database, staging) if staging is not None and settings.direct_uploads else None
    uploads = Uploads(database, access, blobs, limits, staged)
    quotas = Quotas(database, Quota(settings.quota_bytes, settings.quota_repositories))
    to_webhooks = Outbound(loopback=settings.webhook_loopback)
    return Services(
        access=access,
        accounts=Accounts(database),
        tokens=Tokens(database),
        organisations=Organisations(database, access),
        publishers=TrustedPublishing(database, Outbound(loopback=settings.oidc_loopback)),
        devices=DeviceLogins(database),
        audit=AuditLog(database),
        rate_limits=RateLimits(Rates(settings.user_rate, settings.address_rate)),
        repositories=Repositories(database, access, blobs, quotas),
        reading=Reading(database, access, gates, blobs, settings.redirect_above_bytes),
        gates=gates,
        publishing=Publishing(database, access, blobs, uploads, quotas, reached),
        moving=Moving(database, access, quotas),
        downloads=Downloads(database),
        uploads=uploads,
        xet=Xet(database, access, blobs, limits, uploads),
        signed_addresses=SignedAddresses(database),
        versions=Versions(database, access),
        indexing=Indexing(database, blobs),
        modules=Modules(database, access, blobs),
        module_search=ModuleSearch(database, access),
        evaluation_sets=EvaluationSets(database, access, blobs),
        publishing_sets=PublishingSets(database, access, blobs, limits, quotas),
        leaderboards=Leaderboards(database, access),
        evaluations=Evaluations(database, access, tolerance=settings.evaluation_tolerance),
        worker_keys=WorkerKeys(database),
        showing=Showing(database, access, gates, blobs),
        namespaces=Namespaces(database, access),
        feeds=Feeds(database, access),
        operations=Operations(database),
        web_sessions=WebSessions(database, access),
        identities=Identities(database),
        sign_in=_sign_in(settings, database),
        webhooks=Webhooks(database, access, to_webhooks),
        delivering=Delivering(database, to_webhooks),
        readiness=Readiness(database, blobs),
        garbage=GarbageCollection(database, blobs, staging, grace_ms=round(settings.gc_grace_s * 1000)),
        upstream=None if settings.upstream is None else Upstream(settings.upstream),
    )


def _sign_in(settings: Settings, database: Database) -> SignIn | None:
    provider = read_provider(settings)
    if provider is None:
        return None
    asked = IdentityProvider(provider, Outbound(loopback=settings.oidc_loopback))
    return SignIn(database, asked, Identities(database))
