"""Settings come from options, the environment and a TOML file, in this order; what is wrong is said in one line."""

import re
from pathlib import Path

import pytest

from petapter_registry_server.services.sign_in_settings import read_provider
from petapter_registry_server.settings import Settings, read_place, read_settings
from petapter_schemas.errors import InputError
from tests.registry_process import run

DEPLOY = Path(__file__).parents[2] / "registry_server" / "deploy"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file for its owner alone."""
    path = tmp_path / "registry.toml"
    path.touch(mode=0o600)
    return path


def test_option_wins_over_environment_over_file_over_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('data = "/srv/file"\nhost = "::1"\nport = 1\nmax_tree_files = 7\ngc_grace_s = 0.5\n')
    monkeypatch.setenv("PETAPTER_REGISTRY_PORT", "2")
    monkeypatch.setenv("PETAPTER_REGISTRY_HOST", "127.0.0.2")
    read = read_settings({"config": file, "port": 3, "host": None})
    assert (read.port, read.host, read.max_tree_files, read.gc_grace_s) == (3, "127.0.0.2", 7, 0.5)
    assert (read.data, read.max_commit_bytes) == (Path("/srv/file"), Settings(data=Path()).max_commit_bytes)


def test_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('data = "/srv/file"\nblobs = "s3://bucket"\n')
    monkeypatch.setenv("PETAPTER_REGISTRY_CONFIG", str(file))
    assert (read_settings({}).port, read_place({}).blobs) == (8470, "s3://bucket")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "'prot' in .* is no setting: did you mean 'port'"),
        ("[server]\nport = 1", "'server' in .* is no setting"),
        ('config = "other.toml"', "'config' in .* is no setting"),
        ("zzz = 1", "the settings are anonymous_read, blobs, "),
        ("port = ", r"is no TOML: Invalid value \(at line 1, column 8\)"),
        ("port = 70000", r"setting port: .* less than or equal to 65535 \(in the settings file\)"),
        ('port = "many"', r"setting port: .* valid integer.* \(in the settings file\)"),
        ("host = 1", r"setting host: .* valid string"),
    ],
)
def test_wrong_file_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(f'{text}\ndata = "/srv"\n' if "[" not in text else text)
    with pytest.raises(InputError, match=said) as refused:
        read_settings({"config": file})
    assert "\n" not in str(refused.value)


def test_file_that_is_missing_or_no_text_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_settings({"config": tmp_path / "none", "data": tmp_path})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is no TOML"):
        read_settings({"config": file, "data": tmp_path})


def test_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PETAPTER_REGISTRY_PORT", "many")
    with pytest.raises(InputError, match=r"PETAPTER_REGISTRY_PORT"):
        read_settings({"data": tmp_path})


@pytest.mark.parametrize("url", ["postgresql://ada:hush@db/lab", "postgresql://ada@db/lab?password=hush"])
def test_password_that_others_may_read_is_refused_and_not_shown(file: Path, url: str) -> None:
    file.write_text(f'data = "/srv"\ndatabase = "{url}"\n')
    file.chmod(0o644)
    with pytest.raises(InputError, match=f"mode 644, so others may read it: chmod o= {file}") as refused:
        read_settings({"config": file})
    assert "hush" not in str(refused.value)
    file.chmod(0o640)
    database = read_settings({"config": file}).database
    assert database is not None
    assert database.get_secret_value() == url


def test_client_secret_that_others_may_read_is_refused_and_not_shown(file: Path) -> None:
    file.write_text('data = "/srv"\noidc_client_secret = "hush"\n')
    file.chmod(0o604)
    with pytest.raises(InputError, match=f"mode 604, so others may read it: chmod o= {file}") as refused:
        read_settings({"config": file})
    assert "hush" not in str(refused.value)


PROVIDER = {"oidc_issuer": "https://login.example", "oidc_client_id": "x"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"oidc_issuer": None}, "oidc_client_id is set without oidc_issuer"),
        ({"oidc_issuer": None, "oidc_client_id": None, "oidc_create_users": True}, "oidc_create_users is set without"),
        ({"oidc_client_id": None}, "oidc_issuer is set without oidc_client_id"),
        ({"oidc_issuer": "http://login.example"}, "oidc_issuer: .* must be an https address"),
        ({"oidc_issuer": "http://login.example", "oidc_label": "Acme"}, "oidc_issuer: .* must be an https address"),
        ({"oidc_scopes": "profile"}, "oidc_scopes is 'profile' without 'openid'"),
        ({"oidc_client_secret": ""}, "oidc_client_secret is empty"),
        ({"oidc_client_secret": "a", "oidc_client_secret_file": "b"}, "are both set: leave one out"),
        ({"oidc_client_secret_file": "nowhere"}, "oidc_client_secret_file nowhere cannot be read: No such file"),
        ({"oidc_create_users": True, "oidc_required_claim": "groups"}, "is 'groups' and not NAME=VALUE"),
        ({"oidc_required_claim": "a=b"}, "set oidc_create_users too"),
        ({"oidc_email_domains": "acme.example"}, "set oidc_create_users too"),
    ],
)
def test_contradictions_about_the_provider_are_one_line(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_provider(read_settings({"data": tmp_path, **PROVIDER, **changed}))
    assert "\n" not in str(refused.value)


def test_provider_is_read_with_its_secret_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("hush\n")
    for name, value in PROVIDER.items():
        monkeypatch.setenv(f"PETAPTER_REGISTRY_{name.upper()}", value)
    monkeypatch.setenv("PETAPTER_REGISTRY_OIDC_CLIENT_SECRET_FILE", str(secret))
    settings = read_settings({"data": tmp_path})
    read = read_provider(settings)
    assert read is not None
    assert read.client_secret is not None
    assert (read.client_secret.get_secret_value(), read.label) == ("hush", "login.example")
    assert (read.newcomers.are_welcome, "hush" in repr(read)) == (False, False)
    for text, mode, said in (("hush", 0o604, "chmod o="), ("\n", 0o600, "is empty")):
        secret.write_text(text)
        secret.chmod(mode)
        with pytest.raises(InputError, match=said):
            read_provider(settings)
    secret.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is no text"):
        read_provider(settings)


def test_registry_without_a_provider_has_none(tmp_path: Path) -> None:
    assert read_provider(read_settings({"data": tmp_path})) is None


def test_key_of_the_object_store_that_others_may_read_is_refused_and_not_shown(file: Path) -> None:
    file.write_text('data = "/srv"\ndirect_uploads_key_id = "some"\ndirect_uploads_secret = "hush"\n')
    file.chmod(0o644)
    with pytest.raises(InputError, match=f"mode 644, so others may read it: chmod o= {file}"):
        read_settings({"config": file})
    file.chmod(0o640)
    assert "hush" not in repr(read_settings({"config": file}))


def test_file_without_a_password_may_be_read_by_all(file: Path) -> None:
    file.write_text('data = "/srv"\ndatabase = "postgresql://ada@db/lab"\n')
    file.chmod(0o644)
    assert read_settings({"config": file}).database is not None


def test_commands_find_the_registry_by_the_file(file: Path, tmp_path: Path) -> None:
    file.write_text(f'data = "{tmp_path / "nothing"}"\n')
    asked = run("petapter-registry", "user", "list", "--config", file)
    assert (asked.returncode, asked.stderr.count("\n")) == (1, 1)
    assert f"{tmp_path / 'nothing'} is no data directory" in asked.stderr


@pytest.mark.parametrize("command", [["serve"], ["gc"], ["doctor"]])
def test_command_without_a_place_says_how_to_name_one(command: list[str]) -> None:
    asked = run("petapter-registry", *command)
    assert (asked.returncode, asked.stderr.count("\n")) == (1, 1)
    assert "which data directory? Give --data DIR, PETAPTER_REGISTRY_DATA, or 'data' in --config" in asked.stderr


def test_example_file_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    example = (DEPLOY / "petapter-registry.toml").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^#? ?([a-z_0-9]+) = (.*)$", example, re.MULTILINE))
    assert shown.keys() == Settings.model_fields.keys() - {"config"}
    everything = tmp_path / "all.toml"
    everything.write_text("".join(f"{name} = {value}\n" for name, value in shown.items()))
    everything.chmod(0o600)
    read, default = read_settings({"config": everything}), Settings(data=Path("/var/lib/petapter-registry"))
    for name, field in Settings.model_fields.items():
        if field.default is not None and not field.is_required():
            assert getattr(read, name) == getattr(default, name), name
