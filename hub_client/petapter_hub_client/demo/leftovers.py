"""What the demo leaves in its directory for the reader: the data, env.sh to go on with, and a README with commands."""

import os
import shlex
import shutil
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from petapter_hub_client.demo.shell import programs_folder

ENV_FILE = "env.sh"
README_FILE = "README.md"

_README = """\
# What `petapter demo` left here

`. ./env.sh` makes petapter use the configuration and the caches of this directory. So, from here:

    . ./env.sh
    {serve} &

{commands}

| path | what it is |
| --- | --- |
| `data/` | the rows and tasks, with their licences |
| `modules/` | the two trained modules: README.md in each is its model card, petapter.json its manifest |
| `registry/` | everything the registry holds |
| `registry.log`, `registry-port` | what the registry logged, and the port it had |
| `admin-token` | the registry's first token; nobody else may read it |
| `config/`, `cache/` | what would be in your home directory |
| `colleague/` | the caches of somebody who only pulled |

petapter wrote nothing outside of this directory: delete it and the demo is gone.
"""

NEXT_COMMANDS = (
    "petapter search --min-metric 'accuracy>=0.9'",
    "petapter info team/snips-intents",
    "petapter predict --module team/banking-intents 'How do I set a new PIN?'",
    "petapter evaluate team/snips-intents data/snips/test.csv",
    "petapter train data/snips/train.csv --task data/snips/task.yaml --seed 1 --name snips-intents --out modules/again",
    "petapter push modules/again team/snips-intents --version 0.2.0",
)
"""Commands that work once env.sh was read and the registry runs."""


def copy_data(home: Path) -> None:
    """Copy the shipped rows and tasks to data/."""
    with as_file(files("petapter_hub_client.demo") / "data") as shipped:
        shutil.copytree(shipped, home / "data")


def variables(home: Path) -> dict[str, str]:
    """The variables that keep the demo apart from the user's own configuration."""
    return {
        "PETAPTER_CONFIG_DIR": str(home / "config"),
        "PETAPTER_CACHE_DIR": str(home / "cache"),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "0",  # the Hub's client obeys it for every remote, also for one on this machine
        "PETAPTER_REMOTE": "",
        "PETAPTER_TOKEN": "",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",  # the demo's token stays in its directory
        "no_proxy": ",".join(["127.0.0.1", os.environ.get("no_proxy", "")]).rstrip(","),
    }


def write_env(home: Path, settings: Mapping[str, str]) -> None:
    """Write the variables as a file for the shell to read."""
    lines = [
        "# Read it with '. ./env.sh': petapter then uses this directory alone.",
        f'export PATH={shlex.quote(str(programs_folder()))}:"$PATH"',
        *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
    ]
    (home / ENV_FILE).write_text("\n".join([*lines, ""]), encoding="utf-8")


def write_readme(home: Path, port: int) -> None:
    """Write down how to go on."""
    commands = "\n".join(f"    {command}" for command in NEXT_COMMANDS)
    text = _README.format(serve=serve_command(port), commands=commands)
    (home / README_FILE).write_text(text, encoding="utf-8")


def serve_command(port: int) -> str:
    """Starts the registry again where the configuration expects it."""
    return f"petapter-registry serve --data registry --port {port}"
