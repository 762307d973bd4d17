import subprocess
import sys

import pytest

import petapter

LOOK = "import sys, petapter; print(sorted({'torch', 'transformers', 'peft', 'sklearn'} & set(sys.modules)))"


def test_importing_petapter_does_not_load_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", petapter.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(petapter, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trainn'"):
        _ = petapter.trainn
