"""`petapter-registry user …` and `petapter-registry org …`: users, organisations and their members."""

from typing import Annotated

import typer

from petapter_registry_server.commands.opened import Config, Data, DatabaseUrl, opened_database, opened_organisations
from petapter_registry_server.db.quotas import NO_QUOTA, Quota
from petapter_registry_server.services.accounts import Accounts
from petapter_registry_server.services.callers import CONSOLE
from petapter_registry_server.services.identities import Identities
from petapter_registry_server.services.quotas import Quotas
from petapter_registry_server.services.roles import Role

user_app = typer.Typer(help="Users of a data directory.", no_args_is_help=True, rich_markup_mode=None)
org_app = typer.Typer(help="Organisations of a data directory.", no_args_is_help=True, rich_markup_mode=None)
member_app = typer.Typer(help="Members of an organisation.", no_args_is_help=True, rich_markup_mode=None)
org_app.add_typer(member_app, name="member")

User = Annotated[str, typer.Argument(help="The user's name.")]
Issuer = Annotated[
    str,
    typer.Option(
        envvar="PETAPTER_REGISTRY_OIDC_ISSUER", help="The identity provider, as its tokens name it: https://…"
    ),
]
Subject = Annotated[str, typer.Option(help="Whom it knows: what it calls 'sub'.")]
Organisation = Annotated[str, typer.Argument(help="The organisation's name.")]


@user_app.command("create")
def create_user(user: User, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Register a user, with the namespace of the same name."""
    with opened_database(data, url, config) as database:
        Accounts(database).create_user(user)
    typer.echo(f"created user {user}: 'petapter-registry token create --user {user}' makes a token")


@user_app.command("list")
def list_users(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List users, oldest first."""
    with opened_database(data, url, config) as database:
        for line in Accounts(database).list_users():
            state = f"disabled {line.disabled}" if line.disabled else "enabled"
            typer.echo(f"{line.name}\t{line.created}\t{state}")


@user_app.command("disable")
def disable_user(user: User, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Shut a user out and revoke every token; what the user published stays."""
    with opened_database(data, url, config) as database:
        Accounts(database).disable_user(user)
    typer.echo(f"disabled user {user}")


@user_app.command("enable")
def enable_user(user: User, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Let a disabled user in again, with new tokens."""
    with opened_database(data, url, config) as database:
        Accounts(database).enable_user(user)
    typer.echo(f"enabled user {user}")


@user_app.command("link")
def link_identity(
    user: User,
    issuer: Issuer,
    subject: Subject,
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Let somebody whom an identity provider knows sign in as a user."""
    with opened_database(data, url, config) as database:
        Identities(database).link_for(user, issuer, subject)
    typer.echo(f"{subject} of {issuer} signs in as {user}")


@user_app.command("unlink")
def unlink_identity(
    user: User,
    issuer: Issuer,
    subject: Subject,
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Let an identity sign in as a user no more, and end its logins."""
    with opened_database(data, url, config) as database:
        Identities(database).unlink_for(user, issuer, subject)
    typer.echo(f"{subject} of {issuer} signs in as {user} no more")


@user_app.command("identities")
def list_identities(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List whom identity providers know users as, oldest first."""
    with opened_database(data, url, config) as database:
        for line in Identities(database).list_all():
            used = f"used {line.used}" if line.used else "never used"
            typer.echo(f"{line.user}\t{line.issuer}\t{line.subject}\t{line.created}\t{used}")


@org_app.command("create")
def create_organisation(
    organisation: Organisation,
    admin: Annotated[str, typer.Option(help="The user who is its first admin.")],
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make an organisation."""
    with opened_organisations(data, url, config) as organisations:
        organisations.create(CONSOLE, organisation, admin=admin)
    typer.echo(f"created organisation {organisation}")


@org_app.command("list")
def list_organisations(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List organisations by name."""
    with opened_organisations(data, url, config) as organisations:
        for name, _ in organisations.list_for(CONSOLE):
            typer.echo(name)


@org_app.command("quota")
def set_quota(
    namespace: Annotated[str, typer.Argument(help="An organisation, or a user.")],
    max_bytes: Annotated[int | None, typer.Option("--bytes", min=0, help="Bytes it may hold.  [default: any]")] = None,
    repositories: Annotated[int | None, typer.Option(min=0, help="Repositories it may hold.  [default: any]")] = None,
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Say what a namespace may hold, whatever the others may."""
    with opened_database(data, url, config) as database:
        Quotas(database, NO_QUOTA).set_quota(namespace, Quota(max_bytes, repositories))
    typer.echo(f"{namespace} may hold {_amount(max_bytes)} bytes and {_amount(repositories)} repositories")


def _amount(number: int | None) -> str:
    return "any number of" if number is None else str(number)


@member_app.command("add")
def add_member(
    organisation: Organisation,
    user: User,
    role: Annotated[Role, typer.Option(help="What the member may do.")] = "write",
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Give a user a role in an organisation, or another one."""
    with opened_organisations(data, url, config) as organisations:
        organisations.set_member(CONSOLE, organisation, user, role)
    typer.echo(f"{user} has the role {role} in {organisation}")


@member_app.command("remove")
def remove_member(
    organisation: Organisation, user: User, data: Data = None, url: DatabaseUrl = None, config: Config = None
) -> None:
    """Take a user out of an organisation, with every role on its modules."""
    with opened_organisations(data, url, config) as organisations:
        organisations.remove_member(CONSOLE, organisation, user)
    typer.echo(f"{user} does not belong to {organisation} any more")


@member_app.command("list")
def list_members(organisation: Organisation, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List the members of an organisation with their roles."""
    with opened_organisations(data, url, config) as organisations:
        for line in organisations.members(CONSOLE, organisation):
            typer.echo(f"{line.user}\t{line.role}\t{'disabled' if line.is_disabled else 'enabled'}")
