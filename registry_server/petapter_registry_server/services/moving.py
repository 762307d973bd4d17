"""Renaming repositories: the old name leads to the new one, or, where the owner changed, is retired."""

from sqlalchemy.orm import Session

from petapter_registry_server.db import accounts, audit, former_names, memberships, repositories, webhooks
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Namespace, Repository
from petapter_registry_server.errors import InvalidRequestError, NameTakenError
from petapter_registry_server.services.access import Access, Caller, require_namespace
from petapter_registry_server.services.indexing import refresh_index
from petapter_registry_server.services.quotas import Quotas
from petapter_schemas.names import name_key, split_repo_id


class Moving:
    """Gives repositories other names."""

    def __init__(self, database: Database, access: Access, quotas: Quotas) -> None:
        self._database = database
        self._access = access
        self._quotas = quotas

    def move(self, caller: Caller, source: str, target: str) -> str:
        """Rename a repository and return its new canonical name.

        Within a namespace the old name leads to the new one for ever. In another namespace others decide who may push,
        so that the old name must not lead there: it is retired.

        Raises:
            InvalidNameError: The new name breaks the rules.
            RepositoryNotFoundError: There is none of the old name for this caller.
            PermissionDeniedError: The caller is no admin of the repository, or may not write where it is to go.
            QuotaExceededError: The other namespace holds as many repositories as it may.
            NameTakenError: Something has or had the new name, or one that looks like it.
            InvalidRequestError: There is no such namespace, or the repository has this name already.
        """
        namespace_name, name = split_repo_id(target)
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, source)
            namespace = _existing_namespace(session, namespace_name)
            new_name = f"{namespace.name}/{name}"
            require_namespace(session, caller, namespace, new_name)
            _refuse_taken(session, repository, new_name)
            before = repository.full_name
            if namespace.id != repository.namespace_id:
                self._quotas.check_repositories(session, namespace)
                memberships.remove_grants(session, repository.id)  # given by those who owned it
                webhooks.remove_of_repository(session, repository.id)  # likewise
            _rename(session, repository, namespace, new_name)
            refresh_index(session, repository)
            audit.record(session, actor=caller.name, action="repository.move", subject=before, detail=new_name)
        return new_name


def _existing_namespace(session: Session, name: str) -> Namespace:
    namespace = accounts.find_namespace(session, name_key(name))
    if namespace is None or namespace.name.lower() != name.lower():
        raise InvalidRequestError(f"there is no namespace {name!r} to move to: make it first")
    return namespace


def _refuse_taken(session: Session, repository: Repository, new_name: str) -> None:
    if repository.full_name == new_name:
        raise InvalidRequestError(f"{new_name} has this name already")
    key = name_key(new_name)
    taken, former = repositories.find_name(session, key), former_names.find_former_key(session, key)
    if taken is not None and taken.id != repository.id:
        raise NameTakenError(taken.full_name)
    if former is not None and former.repository_id != repository.id:
        raise NameTakenError(former.lookup)


def _rename(session: Session, repository: Repository, namespace: Namespace, new_name: str) -> None:
    """Keep the old name, unless the new one only writes it otherwise, and take the new one."""
    key = name_key(new_name)
    if (again := former_names.find_former_key(session, key)) is not None:
        session.delete(again)
        session.flush()
    if repository.key != key:
        former_names.keep_name(session, repository, leads_on=namespace.id == repository.namespace_id)
    repository.full_name, repository.lookup, repository.key = new_name, new_name.lower(), key
    repository.namespace_id = namespace.id
