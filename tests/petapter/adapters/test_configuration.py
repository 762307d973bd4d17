import json

import pytest
from peft import PeftConfig

from petapter.adapters import adapter_spec, check_config, config_values, peft_config
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import InputError, ManifestError
from tests.petapter.adapters.conftest import ModelOf
from tests.petapter.adapters.kinds import CHOICES

_OF_ANY = {"target_modules": ".*", "modules_to_save": ["cls"], "peft_type": "LORA", "invented_in_2030": True}


def stored(spec: AdapterSpec, **changed: object) -> dict[str, object]:
    """What adapter_config.json says, but for some fields."""
    return json.loads(json.dumps(config_values(peft_config(spec)))) | changed


@pytest.mark.parametrize("name", CHOICES)
def test_own_configuration_is_accepted_and_is_what_peft_reads(model_of: ModelOf, name: str) -> None:
    spec = adapter_spec(CHOICES[name], model_of("bert"))
    check_config(spec, stored(spec, inference_mode=False, peft_version="0.1", base_model_name_or_path="acme/other"))
    theirs = PeftConfig.from_peft_type(**stored(spec))
    assert type(theirs) is type(peft_config(spec))
    assert config_values(theirs) == config_values(peft_config(spec))


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("field", _OF_ANY)
def test_field_that_changes_the_result_is_refused(model_of: ModelOf, name: str, field: str) -> None:
    spec = adapter_spec(CHOICES[name], model_of("bert"))
    value = "IA3" if (field, name) == ("peft_type", "lora") else _OF_ANY[field]
    with pytest.raises(ManifestError, match=field):
        check_config(spec, stored(spec, **{field: value}))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("ia3", {"feedforward_modules": ".*"}),
        ("ia3", {"feedforward_modules": []}),
        ("ia3-before", {"feedforward_modules": r"(?:.*\.)?\d+\.(?:intermediate\.dense)"}),
        ("ia3", {"fan_in_fan_out": True}),
        ("ia3", {"exclude_modules": "x"}),
        ("pfeiffer", {"reduction": 2}),
        ("houlsby", {"reduction": 5}),
    ],
    ids=str,
)
def test_field_of_a_kind_that_changes_the_result_is_refused(
    model_of: ModelOf, name: str, changed: dict[str, object]
) -> None:
    spec = adapter_spec(CHOICES[name], model_of("bert"))
    with pytest.raises(ManifestError, match=next(iter(changed))):
        check_config(spec, stored(spec, **changed))


def test_backbone_is_recorded(model_of: ModelOf) -> None:
    for name in CHOICES:
        config = peft_config(adapter_spec(CHOICES[name], model_of("bert")), repo="acme/backbone")
        assert config_values(config)["base_model_name_or_path"] == "acme/backbone"


def test_no_adapter_has_no_configuration() -> None:
    with pytest.raises(InputError, match="kind 'none' has no peft configuration"):
        peft_config(AdapterSpec(kind="none", parameters=0))
