"""What settings say of the identity provider, whole and without contradictions, or refused in one line."""

import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from petapter_registry_server.errors import OutboundError
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.settings import Settings
from petapter_schemas.errors import InputError


@dataclass(frozen=True)
class Newcomers:
    """Who becomes a user by signing in: nobody, unless welcome.

    Attributes:
        are_welcome: Whether anybody does.
        name_claim: The claim that names the user.
        email_domains: Where the verified e-mail address must be, in small letters; empty is anywhere.
        claim: A claim and the value that it must have, or hold among others.
    """

    are_welcome: bool
    name_claim: str
    email_domains: frozenset[str]
    claim: tuple[str, str] | None


@dataclass(frozen=True)
class ProviderSettings:
    """The identity provider, and what it knows this registry by.

    Attributes:
        issuer: Its address, as its tokens have it.
        client_id: What it calls this registry.
        client_secret: None for a client without one, which PKCE alone protects.
        scopes: What it is asked for.
        label: What the button calls it.
        newcomers: Who becomes a user by signing in.
    """

    issuer: str
    client_id: str
    client_secret: SecretStr | None
    scopes: str
    label: str
    newcomers: Newcomers


def read_provider(settings: Settings) -> ProviderSettings | None:
    """The identity provider; None where people show tokens alone.

    Raises:
        InputError: A setting is missing, contradicts another, or cannot be used.
    """
    if settings.oidc_issuer is None:
        _refuse_without_issuer(settings)
        return None
    if not settings.oidc_client_id:
        raise InputError("oidc_issuer is set without oidc_client_id: name what the provider calls this registry")
    if "openid" not in settings.oidc_scopes.split():
        raise InputError(f"oidc_scopes is {settings.oidc_scopes!r} without 'openid': add it")
    host = _host(settings.oidc_issuer, loopback=settings.oidc_loopback)
    return ProviderSettings(
        settings.oidc_issuer,
        settings.oidc_client_id,
        _secret(settings),
        " ".join(settings.oidc_scopes.split()),
        settings.oidc_label or host,
        _newcomers(settings),
    )


def _refuse_without_issuer(settings: Settings) -> None:
    for name in ("client_id", "client_secret", "client_secret_file", "create_users"):
        if getattr(settings, f"oidc_{name}"):
            raise InputError(f"oidc_{name} is set without oidc_issuer: name the identity provider")


def _host(issuer: str, *, loopback: bool) -> str:
    try:
        return Outbound(loopback=loopback).check_url(issuer).hostname or ""
    except OutboundError as error:
        raise InputError(f"oidc_issuer: {error}") from error


def _secret(settings: Settings) -> SecretStr | None:
    given, file = settings.oidc_client_secret, settings.oidc_client_secret_file
    if given is not None and file is not None:
        raise InputError("oidc_client_secret and oidc_client_secret_file are both set: leave one out")
    secret = given if file is None else _read_secret(file)
    if secret is not None and not secret.get_secret_value():
        where = "oidc_client_secret" if file is None else f"oidc_client_secret_file {file}"
        raise InputError(f"{where} is empty: give the secret, or leave the setting out for a client without one")
    return secret


def _read_secret(file: Path) -> SecretStr:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"oidc_client_secret_file {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"oidc_client_secret_file {file} is no text") from error
    if mode & stat.S_IRWXO:
        raise InputError(f"{file} holds a secret and has mode {mode:o}, so others may read it: chmod o= {file}")
    return SecretStr(text)


def _newcomers(settings: Settings) -> Newcomers:
    domains = (settings.oidc_email_domains or "").replace(",", " ").lower().split()
    wanted = settings.oidc_required_claim
    name, equals, value = (wanted or "").partition("=")
    if wanted is not None and not (name and equals and value):
        raise InputError(f"oidc_required_claim is {wanted!r} and not NAME=VALUE, such as groups=petapter")
    if (domains or wanted) and not settings.oidc_create_users:
        raise InputError("oidc_email_domains and oidc_required_claim say who becomes a user: set oidc_create_users too")
    claim = (name, value) if wanted else None
    return Newcomers(settings.oidc_create_users, settings.oidc_name_claim, frozenset(domains), claim)
