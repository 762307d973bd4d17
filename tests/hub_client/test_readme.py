from pathlib import Path

import pytest
import typer

from petapter_hub_client.cli import app

README = Path("hub_client/README.md").read_text(encoding="utf-8")
TRAIN = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
OPTIONS = sorted({name for parameter in TRAIN.params for name in parameter.opts if name.startswith("--")})


@pytest.mark.parametrize("option", OPTIONS)
def test_option_of_train_is_documented(option: str) -> None:
    assert f"{option}`" in README or f"{option} " in README


@pytest.mark.parametrize("parameter", [each for each in TRAIN.params if each.param_type_name == "option"], ids=str)
def test_option_of_train_explains_itself(parameter: typer.models.ParameterInfo) -> None:
    assert parameter.help
