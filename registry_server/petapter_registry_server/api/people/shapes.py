"""The answers of the routes about people, tokens, programs and webhooks, as JSON has them and the description says."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Shape(BaseModel):
    """JSON has the names of the fields in camel case; dates are `YYYY-MM-DDTHH:MM:SS.fffZ`."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class MemberShape(_Shape):
    """Somebody with a role in an organisation, or on one module."""

    user: str
    role: str
    disabled: bool


class OrganisationShape(_Shape):
    """An organisation of the caller's, and the caller's role there."""

    name: str
    role: str


class TokenShape(_Shape):
    """A token without its secret."""

    id: int
    name: str | None
    role: str
    scope: str | None
    pattern: str | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class NewTokenShape(_Shape):
    """A token that was just made; its secret is nowhere else."""

    id: int
    token: str


class PublisherShape(_Shape):
    """A program that may act as the caller."""

    id: int
    pattern: str
    scope: str
    issuer: str
    audience: str
    claims: Mapping[str, str]
    created_at: str


class WebhookShape(_Shape):
    """A webhook; `for` is the namespace (`team/*`) or module that it hears of."""

    id: int
    place: str = Field(alias="for")
    url: str
    events: tuple[str, ...]
    created_at: str
    failures_in_a_row: int
    rests_until: str | None
    former_secret_until: str | None


class NewWebhookShape(WebhookShape):
    """A webhook with its new secret, which is nowhere else."""

    secret: str


class DeliveryShape(_Shape):
    """What became of one event."""

    id: int
    message_id: str
    event: str
    created_at: str
    state: str
    attempts: int
    tried_at: str | None
    next_at: str | None
    status: int | None
    problem: str | None


class AuditShape(BaseModel):
    """A row of the audit, and the sha256 over it and the row before."""

    id: int
    at: str
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str
    sha256: str
