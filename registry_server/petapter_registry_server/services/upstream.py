"""The read-through proxy: public repositories of one other Hub, fetched by this server and passed on as they arrive.

Nothing of the caller goes there but what is asked for: no token, no cookie, no name. Nothing comes back but bytes,
their names and sizes: no Xet, no address of the other Hub. Namespaces that exist here are never looked for there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urljoin, urlsplit

from petapter_registry_server.errors import OutboundError, RepositoryNotFoundError, UpstreamError
from petapter_registry_server.services.outbound import Answer, Outbound, is_loopback
from petapter_schemas.errors import InputError

Kind = Literal["file", "json"]

_MAX_REDIRECTS = 5
_MAX_JSON_BYTES = 32 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSALS = frozenset({401, 403, 410, 451})
_SENT = ("range", "content-type")
_KEPT = ("content-length", "content-range", "etag", "last-modified", "x-repo-commit", "x-error-code", "x-error-message")
_OF_THE_FILE = ("x-repo-commit", "x-linked-size", "x-linked-etag", "etag")
"""What the first answer says of the file itself; the store that it leads to knows other names for it."""


@dataclass(frozen=True)
class Asked:
    """A request as the caller sent it: the path still escaped, names of headers in small letters."""

    repo_id: str
    kind: Kind
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Passed:
    """What to answer; `next_page` is the path and query of the page after this one."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    next_page: str | None = None


class Upstream:
    """One other Hub."""

    def __init__(self, url: str) -> None:
        """`url` is its address, such as `https://huggingface.co`.

        Raises:
            InputError: It is none that may be asked.
        """
        parts = urlsplit(url)
        self._base = url.rstrip("/")
        self._outbound = Outbound(loopback=is_loopback(parts.hostname or ""))
        try:
            self._outbound.check_url(url)
        except OutboundError as error:
            raise InputError(f"setting upstream: {error}") from error
        if parts.path.strip("/") or parts.query:
            raise InputError(f"setting upstream: {url!r} must be the address of a Hub alone, as https://huggingface.co")

    def fetch(self, asked: Asked) -> Passed:
        """Ask the Hub, following its redirects.

        Raises:
            RepositoryNotFoundError: It shows nobody such a repository.
            UpstreamError: It does not answer, or answers what no Hub answers.
        """
        if {".", ".."} & set(unquote(asked.path).split("/")):
            raise RepositoryNotFoundError(asked.repo_id)
        try:
            return self._passed(asked, *self._follow(asked))
        except OutboundError as error:
            raise UpstreamError(str(error)) from error

    def _follow(self, asked: Asked) -> tuple[Answer, dict[str, str]]:
        """The last answer, and what the first ones said of the file. A HEAD ends where the way leads to a store."""
        url = self._base + asked.path + (f"?{asked.query}" if asked.query else "")
        sent = {name: asked.headers[name] for name in _SENT if name in asked.headers}
        known: dict[str, str] = {}
        for _ in range(_MAX_REDIRECTS):
            answer = self._outbound.ask(asked.method, url, headers=sent, body=asked.body)
            if answer.status not in _REDIRECTS:
                return answer, known
            known |= {n: answer.headers[n] for n in _OF_THE_FILE if n in answer.headers and n not in known}
            if asked.method == "HEAD" and "x-linked-size" in known:
                return answer, known
            answer.close()
            url = urljoin(url, answer.headers.get("location", ""))
        raise UpstreamError(f"{self._base} led on more than {_MAX_REDIRECTS} times")

    def _passed(self, asked: Asked, answer: Answer, known: Mapping[str, str]) -> Passed:
        if answer.status in _REFUSALS or answer.headers.get("x-error-code") == "RepoNotFound":
            answer.close()
            raise RepositoryNotFoundError(asked.repo_id)
        if answer.status >= 500 or answer.status == 429:  # noqa: PLR2004 (server errors, too many requests)
            answer.close()
            raise UpstreamError(f"{self._base} answered with status {answer.status}")
        headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        if answer.status in _REDIRECTS or asked.kind == "file":
            return _file(answer, headers, known)
        return self._json(answer, headers)

    def _json(self, answer: Answer, headers: dict[str, str]) -> Passed:
        """JSON without what belongs to Xet, which this registry does not speak on reading."""
        try:
            document = json.loads(answer.read(_MAX_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise UpstreamError(f"{self._base} answered with something else than JSON") from error
        body = json.dumps(_without_xet(document)).encode()
        headers |= {"content-length": str(len(body)), "content-type": "application/json"}
        return Passed(answer.status, headers, iter([body]), self._next_page(answer.headers.get("link", "")))

    def _next_page(self, link: str) -> str | None:
        address, _, relation = link.partition(";")
        url = address.strip().strip("<>")
        if 'rel="next"' not in relation or not url.startswith(f"{self._base}/"):
            return None
        return url.removeprefix(self._base)


def _file(answer: Answer, headers: dict[str, str], known: Mapping[str, str]) -> Passed:
    """A file under the names that the first answer gave it."""
    if (etag := known.get("x-linked-etag", known.get("etag"))) is not None:
        headers["etag"] = etag
    if "x-repo-commit" in known:
        headers["x-repo-commit"] = known["x-repo-commit"]
    status = answer.status
    if status in _REDIRECTS:  # the end of a HEAD
        status, headers["content-length"] = 200, known["x-linked-size"]
    return Passed(status, headers, answer.chunks())


def _without_xet(value: Any) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, dict):
        return {name: _without_xet(item) for name, item in value.items() if not name.lower().startswith("xet")}
    return [_without_xet(item) for item in value] if isinstance(value, list) else value
