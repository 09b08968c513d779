"""`python -m vwlib` is `vwlib`."""

from vwlib.tools.cli import app

app(prog_name="vwlib")
