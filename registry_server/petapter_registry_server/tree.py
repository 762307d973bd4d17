"""Trees of files as values: folders, git's object ids, and the changes of a commit. Knows no database and no HTTP."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from petapter_registry_server.errors import InvalidRequestError
from petapter_schemas.digests import git_blob_sha1

_FILE_MODE = "100644"
_FOLDER_MODE = "40000"

_Child = tuple[str, str, str]  # mode, name, id


@dataclass(frozen=True)
class TreeFile:
    """A file of a commit: where it is, how long, and the two names of its bytes."""

    path: str
    size: int
    sha256: str
    git_oid: str

    @property
    def is_apart(self) -> bool:
        """Whether it came apart from a commit: then git's id is the one of a pointer to it."""
        return self.git_oid == pointer_oid(self.sha256, self.size)


def pointer(sha256: str, size: int) -> bytes:
    """What git keeps in the place of a file that LFS holds (git-lfs, docs/spec.md)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def pointer_oid(sha256: str, size: int) -> str:
    """Git's id of such a pointer."""
    return git_blob_sha1(pointer(sha256, size))


@dataclass(frozen=True)
class Folder:
    """A folder of a commit with git's id of its tree object."""

    path: str
    git_oid: str


Tree = Mapping[str, TreeFile]
"""Files by path."""


@dataclass(frozen=True)
class Changes:
    """What a commit does to a tree. Deletions come first; a deleted path may be a file or a folder."""

    written: tuple[TreeFile, ...]
    deleted: tuple[str, ...]


def apply_changes(tree: Tree, changes: Changes) -> dict[str, TreeFile]:
    """The tree after the changes.

    Raises:
        InvalidRequestError: A deleted path does not exist, or two paths of the result collide.
    """
    result = dict(tree)
    for path in changes.deleted:
        gone = [kept for kept in result if kept == path or kept.startswith(f"{path.rstrip('/')}/")]
        if not gone:
            raise InvalidRequestError(f"{path!r} cannot be deleted: there is no such file or folder")
        for kept in gone:
            del result[kept]
    result.update({file.path: file for file in changes.written})
    _refuse_collisions(result)
    return result


def _refuse_collisions(tree: Tree) -> None:
    """On a disk that ignores case, `A` and `a` are one file, and no path is both file and folder."""
    files = {path.casefold(): path for path in tree}
    if len(files) < len(tree):
        twin = next(path for path in tree if files[path.casefold()] != path)
        raise InvalidRequestError(f"{twin!r} and {files[twin.casefold()]!r} differ only in case: rename one")
    for path in tree:
        for folder in _parents(path):
            if folder.casefold() in files:
                raise InvalidRequestError(f"{folder!r} cannot be a file and a folder: rename one")


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def folders(tree: Tree) -> dict[str, Folder]:
    """Every folder of the tree by path, the root as ''."""
    children: dict[str, list[_Child]] = {"": []}
    children.update({folder: [] for path in tree for folder in _parents(path)})
    for file in tree.values():
        children[_parent(file.path)].append((_FILE_MODE, file.path.rpartition("/")[2], file.git_oid))
    found: dict[str, Folder] = {}
    for path in sorted(children, key=_depth, reverse=True):  # the deepest first: a folder's id needs those inside it
        found[path] = Folder(path, _tree_oid(children[path]))
        if path:
            children[_parent(path)].append((_FOLDER_MODE, path.rpartition("/")[2], found[path].git_oid))
    return found


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _tree_oid(children: Iterable[_Child]) -> str:
    """Git's id of a tree object; git sorts a folder as if its name ended in a slash."""
    ordered = sorted(children, key=lambda child: (child[1] + ("/" if child[0] == _FOLDER_MODE else "")).encode())
    body = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in ordered)
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
