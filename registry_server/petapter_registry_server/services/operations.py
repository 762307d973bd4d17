"""What operators look at: how much is stored, what garbage collection and scrubs have to do, and what is damaged."""

from collections.abc import Sequence
from dataclasses import dataclass

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import blobs, holdings, scrubs, webhooks
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.holdings import Holdings
from petapter_registry_server.db.scrubs import Progress
from petapter_registry_server.db.webhooks import WebhookCounts
from petapter_registry_server.services.audit_log import AuditLine, audit_line
from petapter_registry_server.services.scrubbing import ACTOR

_SHOWN = 20


@dataclass(frozen=True)
class DamagedBlob:
    """Bytes that a scrub found damaged and nobody healed since, and some of the files that they belong to."""

    sha256: str
    size: int
    found: str
    files: Sequence[str]


@dataclass(frozen=True)
class Overview:
    """The state of a registry.

    Attributes:
        holdings: What there is.
        oldest_condemned: Since when the longest condemned blob waits to be deleted.
        scrub: How far a scrub has come that is not at its end; None where there is none.
        damaged: The last ones found.
        findings: What scrubs wrote into the audit, newest first.
        webhooks: How many there are, and how much is on its way to them.
    """

    holdings: Holdings
    oldest_condemned: str | None
    scrub: Progress | None
    damaged: Sequence[DamagedBlob]
    findings: Sequence[AuditLine]
    webhooks: WebhookCounts


class Operations:
    """Looks at one registry as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def overview(self) -> Overview:
        """The state now."""
        with self._database.read() as session:
            held = holdings.count(session, now_ms=now_ms())
            progress = scrubs.progress(session)
            damaged = [
                DamagedBlob(
                    blob.sha256, blob.size, hub_date(blob.damaged_ms or 0), tuple(blobs.files_of(session, blob.sha256))
                )
                for blob in holdings.list_damaged(session, limit=_SHOWN)
            ]
            hooks = webhooks.count_all(session)
            findings = [audit_line(row) for row in holdings.list_deeds(session, ACTOR, limit=_SHOWN)]
        oldest = held.oldest_condemned_ms
        return Overview(
            holdings=held,
            oldest_condemned=None if oldest is None else hub_date(oldest),
            scrub=progress if progress.blobs else None,
            damaged=damaged,
            findings=findings,
            webhooks=hooks,
        )
