"""The project's folders, whatever the working folder is."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("VWLIB_ROOT", Path(__file__).resolve().parents[1]))
DATA = ROOT / "data"
MINIATURE = DATA / "miniature"
CACHE = ROOT / (os.environ.get("VWLIB_CACHE") or ".cache")  # git-ignored: whatever can be made again
