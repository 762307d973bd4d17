"""The client and the server run where torch is not installed, so importing them must not ask for it."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "sklearn", "safetensors", "huggingface_hub"}


def imported(statement: str) -> set[str]:
    script = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    ["petapter", "petapter_schemas.manifest", "petapter_schemas.module_files", "petapter_hub_client.cli",
     "petapter_registry_server.app", "petapter_registry_server.cli"],
)  # fmt: skip
def test_import_does_not_load(module: str) -> None:
    assert imported(f"import {module}") & HEAVY == set()


def test_help_of_the_command_line_loads_neither_torch_nor_the_hub_library() -> None:
    run_help = "from petapter_hub_client.cli import main\nsys.argv = ['petapter', '--help']\n"
    caught = f"{run_help}try:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    assert imported(caught) & HEAVY == set()


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["evalset", "push", "--help"]])
def test_help_of_a_command_waits_for_pydantic_as_little_as_that_of_the_program(words: list[str]) -> None:
    caught = f"from petapter_hub_client.cli import main\ntry:\n    main({words})\nexcept SystemExit as end:\n"
    assert "pydantic" not in imported(f"{caught}    assert not end.code")


def test_console_commands_of_the_registry_do_not_load_the_server() -> None:
    assert imported("import petapter_registry_server.cli") & {"fastapi", "uvicorn", "prometheus_client"} == set()
