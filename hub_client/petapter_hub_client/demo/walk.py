"""`petapter demo`: the whole walk with real programs: registry, train, push, search, pull, predict."""

import shlex
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from petapter_hub_client.demo.leftovers import copy_data, variables, write_env, write_readme
from petapter_hub_client.demo.registry_process import TOKEN_FILE, Registry, serve_registry
from petapter_hub_client.demo.report import show_next, show_summary
from petapter_hub_client.demo.shell import Shell
from petapter_hub_client.fetching import check_new_directory
from petapter_schemas.errors import PetapterError

TEXTS = (
    "play some jazz by miles davis",
    "will it rain in lisbon on sunday",
    "book a table for four near the station",
    "Somebody took my card, please block it",
    "How long until my transfer arrives?",
    "What does it cost to get cash from a machine?",
)
"""What the modules are asked in the end; none of it is in the data."""


@dataclass(frozen=True)
class DemoTask:
    """One of the modules that the demo makes.

    Attributes:
        module: Its name.
        folder: Where its rows and its task lie, below data/.
        test_name: What the held-out rows are called in the figures.
        license: Of the module: that of its rows.
    """

    module: str
    folder: str
    test_name: str
    license: str

    @property
    def directory(self) -> str:
        """The module directory, relative to the demo's."""
        return f"modules/{self.module}"

    @property
    def reference(self) -> str:
        """What it is called on the default remote."""
        return f"team/{self.module}"


TASKS = (
    DemoTask("snips-intents", "snips", "snips", "CC0-1.0"),
    DemoTask("banking-intents", "banking77", "banking77-8", "CC-BY-4.0"),
)


def run_demo(directory: Path) -> None:
    """Walk the whole path and leave a directory to go on with.

    Args:
        directory: New or empty.

    Raises:
        InputError: The directory holds something.
        PetapterError: A step failed; the registry is ended all the same.
    """
    _require_registry()
    check_new_directory(directory)
    started = time.monotonic()
    shell = _prepare(directory)
    shell.title("A registry on this machine, and a login")
    with shell.ending.listening(), serve_registry(shell) as registry:
        _log_in(shell, registry)
        for task in TASKS:
            _train(shell, task)
        _push(shell)
        _search(shell)
        _pull_and_predict(shell)
    write_readme(shell.directory, registry.port)
    show_summary(
        shell, [(task.directory, f"data/{task.folder}/test.csv") for task in TASKS], time.monotonic() - started
    )
    show_next(shell, directory, registry.port)


def _require_registry() -> None:
    for library in ("fastapi", "sqlalchemy", "uvicorn"):
        if find_spec(library) is None:
            raise PetapterError(f"petapter demo needs {library} for its registry: pip install 'petapter[all]'")


def _prepare(directory: Path) -> Shell:
    """Put data and settings into the directory, and show how to go there."""
    home = directory.resolve()
    settings = variables(home)
    shell = Shell(home, settings, Console())
    shell.title("A directory of its own, with data, configuration and caches")
    home.mkdir(parents=True, exist_ok=True)
    copy_data(home)
    write_env(home, settings)
    shell.show(f"cd {shlex.quote(str(directory))}")
    shell.show(". ./env.sh")
    return shell


def _log_in(shell: Shell, registry: Registry) -> None:
    shell.run(f"petapter remote add demo {registry.url} --default")
    shell.run("petapter login demo --token -", stdin=TOKEN_FILE)


def _train(shell: Shell, task: DemoTask) -> None:
    data = f"data/{task.folder}"
    shell.title(f"Train {task.module} on {data}/train.csv")
    shell.run(
        f"petapter train {data}/train.csv --task {data}/task.yaml --backbone minilm",
        f"--test {data}/test.csv --test-name {task.test_name} --language en --license {task.license}",
        f"--out {task.directory}",
    )


def _push(shell: Shell) -> None:
    shell.title("Push both to the registry")
    for task in TASKS:
        shell.run(f"petapter push {task.directory} {task.reference}")


def _search(shell: Shell) -> None:
    shell.title("Find them again, by name and by label")
    shell.run("petapter search intents")
    shell.run("petapter search --label exchange_rate")


def _pull_and_predict(shell: Shell) -> None:
    shell.title("A colleague with empty caches pulls both")
    colleague = shell.export(PETAPTER_CACHE_DIR="colleague/cache", HF_HOME="colleague/huggingface")
    for task in TASKS:
        colleague.run(f"petapter pull {task.reference}")
    colleague.title("… and asks both about every text, in one call on one resident backbone")
    modules = " ".join(f"--module {task.reference}" for task in TASKS)
    colleague.run(f"petapter predict {modules}", *(f'"{text}"' for text in TEXTS))
    colleague.remark("Each module answers every text; on a text from another domain its answer means nothing.")
