"""`python -m vwlib` is `vwlib`."""

from vwlib.cli import app

app(prog_name="vwlib")
