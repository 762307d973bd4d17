from pathlib import Path

import pytest

from petapter_schemas.digests import git_blob_sha1, git_blob_sha1_file, sha256_bytes, sha256_file

_KNOWN = [
    # data, `sha256sum`, `git hash-object`
    (
        b"",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    ),
    (
        b"hello\n",
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        "ce013625030ba8dba906f756967f9e9ca394464a",
    ),
]


@pytest.mark.parametrize(("data", "sha256", "blob"), _KNOWN)
def test_digests_are_those_of_sha256sum_and_git(data: bytes, sha256: str, blob: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sha256_bytes(data) == sha256_file(path) == sha256
    assert git_blob_sha1(data) == git_blob_sha1_file(path) == blob


def test_large_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000  # 2.5 pieces
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sha256_file(path) == sha256_bytes(data)
    assert git_blob_sha1_file(path) == git_blob_sha1(data)
