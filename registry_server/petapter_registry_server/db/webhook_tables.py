"""The tables of webhooks: where events go, and each event on its way there, written with what it tells of."""

from sqlalchemy import BigInteger, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.tables import Table

WAITING, DELIVERED, FAILED, WITHHELD = "waiting", "delivered", "failed", "withheld"
"""What can become of a delivery; one that is withheld tells of what its receiver may not know."""


class Webhook(Table):
    """An address that hears of the events of a whole namespace, or of one repository: one of the two is set.

    `kinds` are the events, with spaces between them. `secret` signs, so it is kept as it is; so does `former_secret`
    until `former_until_ms`, while the receiver goes from one to the other. After `failures` attempts
    in a row that failed, nothing is sent before `rest_until_ms`.
    """

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(primary_key=True)
    namespace_id: Mapped[int | None] = mapped_column(ForeignKey("namespaces.id"), index=True)
    repository_id: Mapped[int | None] = mapped_column(ForeignKey("repositories.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    url: Mapped[str]
    secret: Mapped[str]
    kinds: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int]
    rest_until_ms: Mapped[int] = mapped_column(BigInteger)
    former_secret: Mapped[str | None]
    former_until_ms: Mapped[int | None] = mapped_column(BigInteger)


class Delivery(Table):
    """An event for one webhook. `due_ms` is when the next attempt may begin; None when there is none any more.

    `repository_id` is None of a ping, which tells of nothing. `evaluation_set_id` is the set that an evaluation was on,
    whose figures not everybody may know; no foreign key, as SQLite adds none to a table.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("ix_webhook_deliveries_webhook_id", "webhook_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id"))
    repository_id: Mapped[int | None] = mapped_column(ForeignKey("repositories.id"), index=True)
    message_id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    attempts: Mapped[int]
    due_ms: Mapped[int | None] = mapped_column(BigInteger, index=True)
    tried_ms: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[int | None]
    problem: Mapped[str | None]
    evaluation_set_id: Mapped[int | None]
