"""What a page hands to its scripts: data in the page itself, so that it needs neither a kernel nor a server."""

from __future__ import annotations

import json
from typing import Any

#: Places on images and on maps are whole numbers up to it, which take less room than shares.
SCALE = 1000


def embed(data: Any, name: str) -> str:
    """Plain data as an element of class `name` that a script reads; nothing in it can end the element."""
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" class="{name}">{content}</script>'
