"""The services of one registry, as app.py wires them and the routes find them."""

from dataclasses import dataclass

from petapter_registry_server.services.access import Access
from petapter_registry_server.services.accounts import Accounts
from petapter_registry_server.services.audit_log import AuditLog
from petapter_registry_server.services.delivering import Delivering
from petapter_registry_server.services.device_login import DeviceLogins
from petapter_registry_server.services.downloads import Downloads
from petapter_registry_server.services.evaluation_sets import EvaluationSets
from petapter_registry_server.services.evaluations import Evaluations
from petapter_registry_server.services.feeds import Feeds
from petapter_registry_server.services.garbage import GarbageCollection
from petapter_registry_server.services.gates import Gates
from petapter_registry_server.services.identities import Identities
from petapter_registry_server.services.indexing import Indexing
from petapter_registry_server.services.leaderboards import Leaderboards
from petapter_registry_server.services.module_search import ModuleSearch
from petapter_registry_server.services.modules import Modules
from petapter_registry_server.services.moving import Moving
from petapter_registry_server.services.namespaces import Namespaces
from petapter_registry_server.services.operations import Operations
from petapter_registry_server.services.organisations import Organisations
from petapter_registry_server.services.publishing import Publishing
from petapter_registry_server.services.publishing_sets import PublishingSets
from petapter_registry_server.services.rate_limits import RateLimits
from petapter_registry_server.services.readiness import Readiness
from petapter_registry_server.services.reading import Reading
from petapter_registry_server.services.repositories import Repositories
from petapter_registry_server.services.showing import Showing
from petapter_registry_server.services.sign_in import SignIn
from petapter_registry_server.services.signed_addresses import SignedAddresses
from petapter_registry_server.services.tokens import Tokens
from petapter_registry_server.services.trusted_publishing import TrustedPublishing
from petapter_registry_server.services.uploads import Uploads
from petapter_registry_server.services.upstream import Upstream
from petapter_registry_server.services.versions import Versions
from petapter_registry_server.services.web_sessions import WebSessions
from petapter_registry_server.services.webhooks import Webhooks
from petapter_registry_server.services.worker_keys import WorkerKeys
from petapter_registry_server.services.xet import Xet


@dataclass(frozen=True)
class Services:
    """Everything a route may call."""

    access: Access
    accounts: Accounts
    tokens: Tokens
    organisations: Organisations
    publishers: TrustedPublishing
    devices: DeviceLogins
    audit: AuditLog
    rate_limits: RateLimits
    repositories: Repositories
    reading: Reading
    publishing: Publishing
    moving: Moving
    downloads: Downloads
    gates: Gates
    uploads: Uploads
    xet: Xet
    signed_addresses: SignedAddresses
    versions: Versions
    indexing: Indexing
    modules: Modules
    module_search: ModuleSearch
    evaluation_sets: EvaluationSets
    publishing_sets: PublishingSets
    leaderboards: Leaderboards
    evaluations: Evaluations
    worker_keys: WorkerKeys
    showing: Showing
    namespaces: Namespaces
    feeds: Feeds
    operations: Operations
    web_sessions: WebSessions
    identities: Identities
    sign_in: SignIn | None
    webhooks: Webhooks
    delivering: Delivering
    readiness: Readiness
    garbage: GarbageCollection
    upstream: Upstream | None
