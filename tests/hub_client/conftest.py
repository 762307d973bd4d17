"""A petapter command line with its own directories, a real registry process, and a remote that records what it gets."""

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from petapter_hub_client.cli import main
from tests.hub_client.tiny_reviews import TASK, save_backbone, write_rows
from tests.registry_process import new_token, serving
from tests.thread_server import running_in_a_thread

REFUSALS = range(1, 8)
"""Codes that come with one line; 2, wrong usage, comes with more."""


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error; anything else fails the test."""
        lines = self.err.strip().splitlines()
        assert self.code in REFUSALS, self
        assert len([line for line in lines if line.startswith("error: ")]) == 1, self
        assert lines[-1].startswith("error: "), self
        return lines[-1]


Petapter = Callable[..., Ran]


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own configuration, tokens and caches is read or written."""
    monkeypatch.setenv("PETAPTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PETAPTER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "PETAPTER_REMOTE", "PETAPTER_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._fetch_registry", lambda: None)


@pytest.fixture
def petapter(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Petapter:
    def run(*arguments: object, stdin: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run


@dataclass(frozen=True)
class Registry:
    """A running registry."""

    url: str
    token: str
    data: Path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serving(tmp_path_factory.mktemp("registry") / "data") as server:
        yield Registry(server.url, new_token(server.data, "admin"), server.data)


@pytest.fixture(scope="session")
def logged_in(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of configuration with the registry as the default remote `lab` and a token for it; to be copied."""
    folder = tmp_path_factory.mktemp("logged-in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETAPTER_CONFIG_DIR", str(folder))
        # the keyring that a test has put in place meanwhile is gone with that test
        patch.setattr("petapter_hub_client.keyrings.save_secret", lambda *_secret: False)
        for arguments in (
            ("remote", "add", "lab", registry.url, "--default"),
            ("login", "lab", "--token", registry.token),
        ):
            with pytest.raises(SystemExit) as ended:
                main(list(arguments))
            assert not ended.value.code
    return folder


@pytest.fixture
def lab(petapter: Petapter, logged_in: Path, tmp_path: Path) -> Petapter:
    """The command line, logged in to the registry, which is the default remote `lab`."""
    shutil.copytree(logged_in, tmp_path / "config", dirs_exist_ok=True)
    return petapter


@pytest.fixture
def repo_id(request: pytest.FixtureRequest) -> str:
    """A module name that no other test uses."""
    digits = abs(hash(request.node.nodeid)) % 10**12
    return f"team/module-{digits}"


@dataclass
class Stub:
    """A remote that answers every request alike, but for those at paths of `answers`, and remembers the headers."""

    url: str = ""
    status: int = 200
    body: bytes = b"[]"
    headers: dict[str, str] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def authorizations(self) -> Sequence[str | None]:
        return [headers.get("authorization") for _, _, headers in self.requests]


@pytest.fixture
def stub() -> Iterator[Stub]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append((self.command, self.path, headers))
            self.rfile.read(int(headers.get("content-length", 0)))
            self.send_response(state.status)
            for name, value in {"Content-Type": "application/json", **state.headers}.items():
                self.send_header(name, value)
            body = state.answers.get(self.path.partition("?")[0], state.body)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_HEAD = answer  # noqa: N815 (http.server's names)

        def log_message(self, *_arguments: object) -> None:
            pass

    with running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as state.url:
        yield state


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switch HF_HUB_OFFLINE on from here."""

    def switch() -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    return switch


def files_below(directory: Path) -> list[str]:
    """Every file except locks, in order."""
    if not directory.exists():
        return []
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.name.endswith(".lock"))


@pytest.fixture
def cached_files(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: files_below(tmp_path / "cache")


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("backbone") / "tiny-bert")


@pytest.fixture
def still_backbone(tmp_path: Path) -> Path:
    """A backbone with the same weights in every run."""
    import torch

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return save_backbone(tmp_path / "tiny-bert")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "reviews.csv")


@pytest.fixture(scope="session")
def trained_once(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module directory as `petapter train` writes it; to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    data, out = write_rows(folder / "reviews.csv"), folder / "reviews"
    words = ("train", data, "--out", out, *TASK, "--backbone", backbone, "--preset", "plain", "--steps", "2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETAPTER_CONFIG_DIR", str(folder / "config"))
        patch.setenv("PETAPTER_CACHE_DIR", str(folder / "cache"))
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--test", str(data)])
    assert not ended.value.code
    return out


@pytest.fixture
def module(trained_once: Path, data: Path, tmp_path: Path) -> Path:
    """A module of the test's own, trained and measured on `data`."""
    return Path(shutil.copytree(trained_once, tmp_path / "reviews"))
