import re
from pathlib import Path

from petapter_hub_client.serving import errors
from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.options import ADMIN_TOKEN_VARIABLE, PREDICT_TOKEN_VARIABLE
from tests.hub_client.serving.conftest import App

SECTION = Path("hub_client/README.md").read_text(encoding="utf-8").split("\n## Serve\n")[1].split("\n## ")[0]


def test_every_route_is_documented(app: App) -> None:
    routes = app.ask("GET", "/openapi.json").json()["paths"]
    for path, methods in routes.items():
        for method in methods:
            assert f"`{method.upper()} {path.replace('{alias}', 'ALIAS')}`" in SECTION


def test_every_code_of_an_error_is_documented() -> None:
    codes = {code for _, code in errors._ANSWERS.values()} | set(errors._FRAMEWORK.values()) | {errors._INTERNAL[1]}
    assert sorted(code for code in codes if f"`{code}`" not in SECTION) == []


def test_every_metric_is_documented_and_none_else(app: App) -> None:
    app.ask("GET", "/healthz")
    families = set(re.findall(r"^# TYPE (\S+)", app.ask("GET", "/metrics").text, flags=re.MULTILINE))
    counted = {name for name in families if not name.endswith("_created")}
    assert counted == set(re.findall(r"`(petapter_[a-z_]+)`", SECTION))
    assert Metrics().text()


def test_the_variables_are_documented() -> None:
    assert f"`{ADMIN_TOKEN_VARIABLE}`" in SECTION
    assert f"`{PREDICT_TOKEN_VARIABLE}`" in SECTION
