"""How much one commit may hold."""

from dataclasses import dataclass

from petapter_registry_server.errors import TooLargeError


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, and the number of files of a tree; what is longer than `inline_bytes` travels apart."""

    file_bytes: int
    inline_bytes: int
    commit_bytes: int
    tree_files: int

    def check_file(self, path: str, size: int) -> None:
        """Refuse a file above the limit.

        Raises:
            TooLargeError: It is.
        """
        if size > self.file_bytes:
            raise TooLargeError(f"{path} has {size} bytes; this registry takes files of up to {self.file_bytes} bytes")

    def check_inline(self, path: str, size: int) -> None:
        """Refuse a file that is too long to travel inside a commit.

        Raises:
            TooLargeError: It is.
        """
        self.check_file(path, size)
        if size > self.inline_bytes:
            raise TooLargeError(
                f"{path} has {size} bytes; inside a commit up to {self.inline_bytes} travel: send it by LFS or Xet, as "
                "'hf upload' does"
            )

    def check_commit(self, size: int) -> None:
        """Refuse a commit body above the limit.

        Raises:
            TooLargeError: It is.
        """
        if size > self.commit_bytes:
            raise TooLargeError(f"the commit is longer than the {self.commit_bytes} bytes that this registry takes")

    def check_tree(self, files: int) -> None:
        """Refuse a tree of too many files.

        Raises:
            TooLargeError: It is.
        """
        if files > self.tree_files:
            raise TooLargeError(f"the commit would hold {files} files; this registry takes up to {self.tree_files}")
