"""The rules of the repository that a linter does not know."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
REASON = "# over 400 lines:"
MAX_REPOSITORY_BYTES = 40_000_000


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def test_no_source_file_is_longer_than_400_lines_without_a_reason() -> None:
    long = [
        path.relative_to(ROOT)
        for path in sources()
        if len(text := path.read_text(encoding="utf-8").splitlines()) > MAX_LINES and REASON not in "\n".join(text[:20])
    ]
    assert long == []


def test_every_source_file_begins_with_its_purpose() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in sources()
        if path.stat().st_size > 0
        and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
        and "migrations/versions" not in str(path)
        and not path.name.startswith(("test_", "conftest"))
    ]
    assert silent == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "helpers", "common", "misc", "manager"}
    assert [path.relative_to(ROOT) for path in sources() if path.stem in vague] == []


def test_the_whole_repository_stays_small() -> None:
    assert sum(path.stat().st_size for path in tracked()) < MAX_REPOSITORY_BYTES


@pytest.mark.parametrize("folder", ["schemas", "hub_client", "registry_server"])
def test_each_distribution_folder_holds_one_import_package(folder: str) -> None:
    packages = [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")]
    assert packages == [f"petapter_{folder}"]
