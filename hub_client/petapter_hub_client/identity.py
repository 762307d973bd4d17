"""Asks a remote whom it takes the bearer of a token for."""

from dataclasses import dataclass

from petapter_hub_client.hub import asking, connect, missing_token
from petapter_hub_client.remotes import Remote


@dataclass(frozen=True)
class Identity:
    """A user of a remote and the organizations they may publish for."""

    remote: str
    url: str
    user: str
    organizations: tuple[str, ...]


def identify(remote: Remote, token: str | None) -> Identity:
    """Ask `whoami`.

    Raises:
        AuthenticationError: There is no token, or the remote refuses it.
        RemoteUnreachableError: The remote does not answer.
    """
    if token is None:
        raise missing_token(remote)
    api = connect(remote, token)
    with asking(remote, "whoami"):
        answer = api.whoami()
    organizations = tuple(str(organization["name"]) for organization in answer.get("orgs") or ())
    return Identity(remote.name, remote.url, str(answer["name"]), organizations)
