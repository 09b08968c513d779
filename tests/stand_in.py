"""A lab without models, for tests of the store: words and scores come at once from the trials' own streams.

Also a preload of Dask workers, and `python stand_in.py study ...` is the command line with such a lab.
"""

from __future__ import annotations

import os
import time

import torch

from vwlib.lab import Lab
from vwlib.learn import Learned
from vwlib.models.base import Score
from vwlib.study import run

SECONDS = "STAND_IN_SECONDS"  # that learning a chunk takes


class StandIn(Lab):
    """Learns noise and scores its mean."""

    def __init__(self, profile):
        super().__init__(profile, lambda *_: None)

    def learn(self, task, trials, **_):
        time.sleep(float(os.environ.get(SECONDS, 0)))
        words = [torch.randn(self.profile.vectors, 8, generator=trial.stream()) for trial in trials]
        return Learned(torch.stack(words), torch.zeros(1, len(trials)))

    def transfer(self, vectors, *_):
        return vectors

    def evaluate(self, task, vectors, trials):
        return [Score("made up", float(word.mean().sigmoid()), 4, {}) for word in vectors]

    def reference_rows(self, target, trials):
        scores = [Score("made up", 0.5, 4, {})] * len(trials)
        return [row for source in ("anchor", "name") for row in self.rows(trials, source, target, scores)]


def dask_setup(_=None) -> None:
    """Let the study of this process use the stand-in."""
    run.open_lab = StandIn


if __name__ == "__main__":
    from vwlib.tools.cli import app

    dask_setup()
    app()
