"""What the README says of stacks: its example is one, and every option stands in it."""

from pathlib import Path

import typer

from petapter_hub_client.commands.stack import app
from petapter_hub_client.stacks.reading import read_stack

README = Path("hub_client/README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Stacks\n")[1].split("\n## ")[0]


def test_example_is_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(SECTION.split("```yaml\n")[1].split("```")[0])
    spec = read_stack(path).spec
    assert spec.backbone == "minilm"
    assert [(entry.alias, entry.module, entry.patterns) for entry in spec.modules] == [
        ("intents", "lab:team/intents@v1.2.0", None),
        ("news", "lab:team/news", (0,)),
        ("reviews", "./reviews", None),
        ("moods", "lab:team/moods@v2.0.0", None),
        ("moods", "./moods", None),
    ]
    assert [(entry.member, entry.weight) for entry in spec.modules[3:]] == [(0, 0.7), (1, 0.3)]


def test_every_option_is_documented_and_explains_itself() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) == {"lock", "sync", "predict"}
    for command in commands.values():
        for parameter in command.params:
            assert parameter.help, (command.name, parameter.name)
            for name in (name for name in parameter.opts if name.startswith("--") and name != "--help"):
                assert f"{name}`" in README or f"{name} " in README, name
