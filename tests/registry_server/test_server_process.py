"""The server as a process: its first start, its lock, its end."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.registry_process import Server, new_token, run, serving, start
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files

TOKEN = re.compile(r"ppt_[A-Za-z0-9_-]{43}[0-9a-f]{8}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it running."""
    with serving(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


def client(server: Server, token: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def push(api: httpx.Client, files: dict[str, bytes]) -> str:
    answer = api.post("/api/models/team/tickets/commit/main", content=commit_body(files))
    assert answer.status_code == 200, answer.text
    oid: str = answer.json()["commitOid"]
    return oid


def _files_below(scratch: Path) -> list[Path]:
    """What requests left; their directories stay, empty, for the next ones."""
    return [path for path in scratch.rglob("*") if path.is_file()]


def test_first_start_prints_the_admin_token_and_the_second_does_not(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        first = server.stop()
    (token,) = TOKEN.findall(first)
    assert f"petapter remote add lab {server.url}" in first
    assert f"HF_ENDPOINT={server.url} hf auth login" in first
    with serving(tmp_path / "data") as server:
        with client(server, token) as api:
            assert api.get("/api/whoami-v2").json()["name"] == "admin"
        assert TOKEN.findall(server.stop()) == []


def test_init_prints_the_admin_token_alone_and_the_first_start_none(tmp_path: Path) -> None:
    made = run("petapter-registry", "init", "--data", tmp_path / "data")
    assert (made.returncode, made.stderr) == (0, "")
    assert TOKEN.fullmatch(made.stdout.strip())
    again = run("petapter-registry", "init", "--data", tmp_path / "data")
    assert (again.returncode, again.stdout, "holds a registry already" in again.stderr) == (0, "", True)
    with serving(tmp_path / "data") as server:
        with client(server, made.stdout.strip()) as api:
            assert api.get("/api/whoami-v2").json()["name"] == "admin"
        busy = run("petapter-registry", "init", "--data", tmp_path / "data")
        assert (busy.returncode, busy.stderr.count("\n")) == (1, 1)
        assert TOKEN.findall(server.stop()) == []


def test_second_server_on_the_same_directory_is_refused_in_one_line(server: Server) -> None:
    done = run("petapter-registry", "serve", "--data", server.data, "--port", "0")
    assert done.returncode == 1
    assert done.stderr == (
        f"petapter-registry: another petapter-registry already serves {server.data}: "
        "stop it, or choose another --data\n"
    )


def test_address_in_use_is_one_line(server: Server, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    done = run("petapter-registry", "serve", "--data", tmp_path / "other", "--port", port)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot listen on 127.0.0.1" in done.stderr


def test_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = run("petapter-registry", "serve", "--data", tmp_path / "data", "--port", "99999")
    assert done.returncode == 1
    assert done.stderr == "petapter-registry: setting port: Input should be less than or equal to 65535\n"


def test_everything_is_there_after_a_kill_and_a_restart(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    token = new_token(tmp_path / "data")
    with client(server, token) as api:
        assert api.post("/api/repos/create", json={"name": "tickets", "organization": "team"}).status_code == 200
        oids = [push(api, module_files(version=f"1.0.{number}", fill=number / 8)) for number in range(3)]
        server.kill()
    with serving(tmp_path / "data") as restarted, client(restarted, token) as api:
        commits = [commit["id"] for commit in api.get("/api/models/team/tickets/commits/main").json()]
        assert commits[:3] == oids[::-1]
        for number, oid in enumerate(oids):
            for path, data in module_files(version=f"1.0.{number}", fill=number / 8).items():
                assert api.get(f"/team/tickets/resolve/{oid}/{path}").content == data
        push(api, {"notes.txt": b"still writable"})


def test_kill_in_the_middle_of_a_push_leaves_nothing_half_visible(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    token = new_token(tmp_path / "data")
    with client(server, token) as api:
        api.post("/api/repos/create", json={"name": "tickets", "organization": "team"})
        before = api.get("/api/models/team/tickets").json()["sha"]

        def cut_off() -> Iterator[bytes]:
            body = commit_body(module_files())
            yield body[: len(body) // 2]
            server.kill()
            yield body[len(body) // 2 :]

        with pytest.raises(httpx.TransportError):
            api.post("/api/models/team/tickets/commit/main", content=cut_off())
    with serving(tmp_path / "data") as restarted, client(restarted, token) as api:
        assert api.get("/api/models/team/tickets").json()["sha"] == before
        assert _files_below(tmp_path / "data" / "scratch") == []


def test_client_that_goes_away_in_the_middle_leaves_nothing(server: Server) -> None:
    def cut_off() -> Iterator[bytes]:
        body = commit_body(module_files())
        yield body[: len(body) // 2]
        raise InterruptedError

    with client(server, new_token(server.data)) as api:
        api.post("/api/repos/create", json={"name": "cut", "organization": "team"})
        before = api.get("/api/models/team/cut").json()["sha"]
        with pytest.raises(InterruptedError):
            api.post("/api/models/team/cut/commit/main", content=cut_off())
        assert api.get("/api/models/team/cut").json()["sha"] == before
    assert _files_below(server.data / "scratch") == []


def test_token_is_made_and_listed_without_its_secret(server: Server) -> None:
    made = run("petapter-registry", "token", "create", "--data", server.data, "--user", "ada", "--role", "read")
    secret = made.stdout.strip()
    assert TOKEN.fullmatch(secret)
    with client(server, secret) as api:
        assert api.get("/api/whoami-v2").json()["auth"]["accessToken"]["role"] == "read"
    listed = run("petapter-registry", "token", "list", "--data", server.data).stdout
    assert secret not in listed
    assert listed.splitlines()[-1].split("\t")[1:3] == ["ada", "read"]


def test_token_is_revoked_while_the_server_runs(server: Server) -> None:
    with client(server, new_token(server.data)) as api:
        number = api.get("/api/whoami-v2").json()["auth"]["accessToken"]["displayName"].removeprefix("token-")
        assert run("petapter-registry", "token", "revoke", number, "--data", server.data).returncode == 0
        assert api.get("/api/whoami-v2").status_code == 401


def test_token_command_on_a_directory_without_a_registry_is_one_line(tmp_path: Path) -> None:
    done = run("petapter-registry", "token", "list", "--data", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is no data directory" in done.stderr


def test_log_has_one_line_per_request_and_no_token(server: Server) -> None:
    token = new_token(server.data)
    with client(server, token) as api:
        api.get("/api/whoami-v2", headers={"X-Request-Id": "seen-in-log"})
        api.get("/x%0Ay")
        api.get("/health")  # its line is written after the two before it
    log = server.data.with_suffix(".log").read_text()
    (line,) = [line for line in log.splitlines() if "request_id=seen-in-log" in line]
    assert "method=GET path=/api/whoami-v2 status=200 ms=" in line
    assert "path=/x%0Ay status=404" in log
    assert token not in log
