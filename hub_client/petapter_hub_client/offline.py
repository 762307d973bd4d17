"""Switches this process off the network, as HF_HUB_OFFLINE=1 does for the whole of a user's programs."""

import os
import sys

_VARIABLE = "HF_HUB_OFFLINE"


def go_offline() -> None:
    """From here on no remote is asked, neither by petapter nor by the libraries that it uses."""
    os.environ[_VARIABLE] = "1"
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:  # it reads the variable once
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # sys.modules knows no types
