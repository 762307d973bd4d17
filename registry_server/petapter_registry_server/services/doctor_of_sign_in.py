"""The doctor on signing in: whether the settings say one thing, and whether the identity provider can do its part."""

from collections.abc import Iterator

from petapter_registry_server.errors import IdentityProviderError
from petapter_registry_server.services.finding import Finding
from petapter_registry_server.services.identity_provider import IdentityProvider
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.sign_in_settings import ProviderSettings, read_provider
from petapter_registry_server.settings import Settings
from petapter_schemas.errors import InputError

_SUBJECT = "sign-in"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint")


def examine_sign_in(settings: Settings) -> Iterator[Finding]:
    """Nothing where people show tokens alone; the provider is asked for what it publishes, and nothing else."""
    try:
        read = read_provider(settings)
    except InputError as error:
        yield Finding("failure", _SUBJECT, str(error))
        return
    if read is not None:
        yield _examine_provider(read, IdentityProvider(read, Outbound(loopback=settings.oidc_loopback)))


def _examine_provider(settings: ProviderSettings, provider: IdentityProvider) -> Finding:
    try:
        for name in _ENDPOINTS:
            provider.endpoint(name)
        methods = provider.about().get("code_challenge_methods_supported")
    except IdentityProviderError as error:
        return Finding("failure", _SUBJECT, str(error))
    if isinstance(methods, list) and "S256" not in methods:
        return Finding(
            "warning", _SUBJECT, f"{settings.issuer} does not do PKCE: stolen codes are safe by secret alone"
        )
    if settings.newcomers.are_welcome and not (settings.newcomers.email_domains or settings.newcomers.claim):
        return Finding("warning", _SUBJECT, f"everybody whom {settings.issuer} knows becomes a user by signing in")
    return Finding("ok", _SUBJECT, f"{settings.issuer} answers")
