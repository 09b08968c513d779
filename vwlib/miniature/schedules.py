"""The settings of each training of the miniature's models, from `pretraining.toml`."""

import tomllib
from pathlib import Path
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("pretraining.toml").read_text(encoding="utf-8")
)
STEPS: dict[str, int] = {name: settings["steps"] for name, settings in SETTINGS.items()}
