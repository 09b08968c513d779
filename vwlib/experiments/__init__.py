"""Experiments beside the study's own scores: the tables on which the ledger judges the paper's other claims.

The expensive stage of a page: `vwlib experiments [NAMES...] --profile P` computes each table once and stores it; a page
only reads it. `vwlib experiments --status` says what is stored.

>>> from vwlib.study.store import read_table
>>> table = read_table("displacements", "miniature")  # FileNotFoundError says which command makes it

A new experiment is one module of this package with an `Experiment` (`vwlib.experiments.base`): what it asks, its sizes,
its table's columns and its computation. `vwlib.experiments.running` finds it.
"""
