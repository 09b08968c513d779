"""The functions of a profile that a `Lab` replaces, while callers move to it. To be deleted."""

from __future__ import annotations

from functools import lru_cache

from vwlib.datasets.splits import open_lab

lab_of = lru_cache(maxsize=8)(open_lab)


def load_material(profile, dataset):
    return lab_of(profile).split(dataset)


def prepared(task, profile, dataset, split):
    return lab_of(profile).features(task, dataset, split)


def learn(task, profile, trials, progress=True):
    return lab_of(profile).learn(task, trials, progress=progress)


def learn_whatever_comes(task, profile, trials, progress=True):
    return lab_of(profile).learn(task, trials, allow_divergence=True, progress=progress)


def score(task, profile, vectors, trials):
    return lab_of(profile).evaluate(task, vectors, trials)


def carry(profile, vectors, source, target, kind="linear"):
    return lab_of(profile).transfer(vectors, source, target, kind)


def transfer_map(profile, source, target, kind="linear"):
    return lab_of(profile).transfer_map(source, target, kind)


def run_grid(profile, trials, sources=("generation", "detection", "classification"), targets=("generation", "detection", "classification"), progress=True, kind="linear", learned=None):
    return lab_of(profile).run_trials(trials, sources, targets, kind=kind, learned=learned or {}, progress=progress)


def reference_rows(target, profile, trials):
    return lab_of(profile).reference_rows(target, trials)
