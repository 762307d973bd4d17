"""What the README says is run: its Python example, its commands, its links."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPS = ROOT / "hub_client" / "petapter_hub_client" / "demo" / "data" / "snips"
PROGRAMS = Path(sys.executable).parent


@pytest.mark.slow
def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    example = README.split("```python\n")[1].split("```")[0]
    for name in ("task.yaml", "train.csv"):
        shutil.copyfile(SNIPS / name, tmp_path / name)
    home = os.environ | {"PETAPTER_CACHE_DIR": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "BookRestaurant"


def test_every_command_line_in_the_readme_is_one_the_programs_know() -> None:
    lines = re.findall(r"^ {4}(petapter(?:-registry)? .+)$", README, flags=re.MULTILINE)
    commands = {tuple(part.split()[:2]) for line in lines for part in line.split(" && ")}
    assert ("petapter", "train") in commands
    for program, command in sorted(commands):
        helped = subprocess.run([PROGRAMS / program, command, "--help"], capture_output=True, text=True, check=False)
        assert helped.returncode == 0, f"{program} {command}"


def test_every_option_in_the_readme_exists() -> None:
    for line in re.findall(r"^ {4}petapter (.+)$", README, flags=re.MULTILINE):
        command = line.split(" && ")[0].split()
        helped = subprocess.run(
            [PROGRAMS / "petapter", command[0], "--help"], capture_output=True, text=True, check=True
        )
        for option in (word for word in command if word.startswith("--")):
            assert option in helped.stdout or command[0] == "remote", option


def test_every_link_to_a_file_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
