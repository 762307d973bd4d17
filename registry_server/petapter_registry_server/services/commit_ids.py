"""Commits with ids in git's form: 40 hex digits over tree, parent, author, date, message and a nonce."""

import hashlib
import secrets
from dataclasses import dataclass

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import Commit
from petapter_registry_server.tree import Tree, folders


@dataclass(frozen=True)
class CommitText:
    """What people read of a commit."""

    title: str
    message: str
    author: str


def new_commit(repository_id: int, parent_oid: str | None, tree: Tree, text: CommitText) -> Commit:
    """A commit that is not stored yet; the nonce keeps ids from ever repeating, whatever is committed when."""
    at_ms = now_ms()
    lines = [f"tree {folders(tree)[''].git_oid}", f"author {text.author} {at_ms}", f"nonce {secrets.token_hex(16)}"]
    if parent_oid:
        lines.append(f"parent {parent_oid}")
    body = "\n".join([*lines, "", text.title, "", text.message]).encode("utf-8", "surrogatepass")
    return Commit(
        oid=hashlib.sha1(b"commit %d\0" % len(body) + body, usedforsecurity=False).hexdigest(),
        repository_id=repository_id,
        parent_oid=parent_oid,
        title=text.title,
        message=text.message,
        author=text.author,
        created_ms=at_ms,
    )
