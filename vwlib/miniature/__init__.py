"""The small world: its drawings, scenes and captions, and the pretraining of its models."""

import tomllib
from pathlib import Path
from typing import Any

#: Colours, styles, words and single things, from `world.toml`.
WORLD: dict[str, Any] = tomllib.loads(Path(__file__).with_name("world.toml").read_text(encoding="utf-8"))
