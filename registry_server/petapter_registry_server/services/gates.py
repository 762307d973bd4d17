"""Gated repositories: everybody who may see one sees what it is; its files are for members and those let in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from petapter_registry_server.db import accounts, audit, gates
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.errors import GatedAnonymouslyError, GatedError, InvalidRequestError, LoginRequiredError
from petapter_registry_server.services.access import Access, Caller

Mode = Literal["auto", "manual"]
Status = Literal["pending", "accepted", "rejected"]


@dataclass(frozen=True)
class Asking:
    """A user at the gate."""

    id: int
    user: str
    status: str
    created_ms: int


@dataclass(frozen=True)
class Decision:
    """What is to become of a request, named by its user or its id."""

    status: Status
    user: str | None = None
    request_id: int | None = None
    reason: str = ""


class Gates:
    """Decides who gets the files of gated repositories."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def set_mode(self, caller: Caller, repo_id: str, mode: Mode | None) -> None:
        """Gate a repository, or open it. Raises: as `Access.administrable`."""
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            gates.set_mode(session, repository.id, mode)
            audit.record(session, actor=caller.name, action="gate.set", subject=repo_id, detail=mode or "open")

    def ask(self, caller: Caller, repo_id: str) -> str:
        """Ask to get in; what became of it.

        Raises:
            LoginRequiredError: Nobody knows who asks.
            InvalidRequestError: The repository is not gated.
        """
        if caller.user_id is None:
            raise LoginRequiredError("a token is needed to ask for access: log in with 'hf auth login'")
        with self._database.write() as session:
            repository = self._access.readable(session, caller, repo_id)
            mode = gates.read_modes(session, [repository.id]).get(repository.id)
            if mode is None:
                raise InvalidRequestError(f"{repo_id} is not gated: everybody who sees it may download it")
            if (request := gates.find_request(session, repository.id, caller.user_id)) is not None:
                return request.status
            status = "accepted" if mode == "auto" else "pending"
            gates.add_request(session, repository.id, caller.user_id, status)
            audit.record(session, actor=caller.name, action="gate.ask", subject=repo_id, detail=status)
            return status

    def requests(self, caller: Caller, repo_id: str, status: Status) -> Sequence[Asking]:
        """Who asked. Raises: as `Access.administrable`."""
        with self._database.read() as session:
            repository = self._access.administrable(session, caller, repo_id)
            rows = gates.list_requests(session, repository.id, status)
        return [Asking(request.id, name, request.status, request.created_ms) for request, name in rows]

    def decide(self, caller: Caller, repo_id: str, decision: Decision) -> None:
        """Let somebody in who asked, or not.

        Raises:
            InvalidRequestError: Nobody of that name or id asked.
        """
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            request = _request(session, repository, decision)
            if request is None:
                raise InvalidRequestError(f"there is no such request for access to {repo_id}: list the pending ones")
            request.status, request.reason = decision.status, decision.reason
            audit.record(
                session,
                actor=caller.name,
                action="gate.decide",
                subject=repo_id,
                detail=f"user={request.user_id} {decision.status}",
            )

    def grant(self, caller: Caller, repo_id: str, user_name: str) -> None:
        """Let somebody in who did not ask.

        Raises:
            InvalidRequestError: There is no such user.
        """
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            user = accounts.find_user(session, user_name)
            if user is None:
                raise InvalidRequestError(f"there is no user {user_name!r}")
            request = gates.find_request(session, repository.id, user.id)
            if request is None:
                gates.add_request(session, repository.id, user.id, "accepted")
            else:
                request.status = "accepted"
            audit.record(session, actor=caller.name, action="gate.grant", subject=repo_id, detail=user.name)

    def check(self, session: Session, caller: Caller, repository: Repository) -> None:
        """Refuse callers who were not let in.

        Raises:
            GatedError: The repository is gated, and the caller is no member and was not let in.
        """
        if repository.id not in gates.read_modes(session, [repository.id]):
            return
        if self._access.belongs(session, caller, repository):
            return
        if caller.user_id is None:
            raise GatedAnonymouslyError(repository.full_name)
        request = gates.find_request(session, repository.id, caller.user_id)
        if request is None or request.status != "accepted":
            raise GatedError(repository.full_name)


def _request(session: Session, repository: Repository, decision: Decision) -> gates.AccessRequest | None:
    if decision.request_id is not None:
        request = session.get(gates.AccessRequest, decision.request_id)
        return request if request is not None and request.repository_id == repository.id else None
    user = accounts.find_user(session, decision.user or "")
    return gates.find_request(session, repository.id, user.id) if user else None
