"""Who somebody is on a remote: asks it, keeps the token that it accepts, and forgets it again."""

from dataclasses import dataclass, field, replace

from petapter_hub_client.hub import asking, connect, missing_token, refuse_offline
from petapter_hub_client.remotes import Remote, find_remote
from petapter_hub_client.tokens import Kept, check_token, find_token, forget_token, store_token
from petapter_schemas.errors import AuthenticationError


@dataclass(frozen=True)
class Identity:
    """A user of a remote and the organizations they may publish for.

    Attributes:
        kept: Where the token was put, just after a login.
    """

    remote: str
    url: str
    user: str
    organizations: tuple[str, ...]
    kept: Kept | None = field(default=None, compare=False)


def login(token: str, remote: str | None = None) -> Identity:
    """Keep a token for a remote, the default one unless named, once the remote has accepted it.

    Raises:
        InputError: There is no such remote, or that is no token.
        AuthenticationError: The remote refuses it; it is not kept.
        RemoteUnreachableError: The remote does not answer.
    """
    found = find_remote(remote)
    given = check_token(token)
    try:
        identity = _ask(found, given)
    except AuthenticationError as error:
        raise AuthenticationError(
            f"remote {found.name!r} refuses the token that was given, so it is not kept: get another one from "
            f"{found.url} and run 'petapter login {found.name}' again"
        ) from error
    return replace(identity, kept=store_token(found, given))


def logout(remote: str | None = None) -> bool:
    """Forget the token for a remote, the default one unless named; whether there was one.

    Raises:
        InputError: There is no such remote.
    """
    return forget_token(find_remote(remote).name)


def whoami(remote: str | None = None) -> Identity:
    """Ask a remote, the default one unless named, whom it takes the bearer of the token for.

    Raises:
        AuthenticationError: There is no token, or the remote refuses it.
        RemoteUnreachableError: The remote does not answer.
    """
    found = find_remote(remote)
    refuse_offline(found)
    if (token := find_token(found)) is None:
        raise missing_token(found)
    return _ask(found, token)


def _ask(remote: Remote, token: str) -> Identity:
    api = connect(remote, token)
    with asking(remote, "whoami"):
        answer = api.whoami()
    organizations = tuple(str(organization["name"]) for organization in answer.get("orgs") or ())
    return Identity(remote.name, remote.url, str(answer["name"]), organizations)
