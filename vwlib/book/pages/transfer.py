"""Tables of transfers: a grid's means, each transfer tested, directions, and what the paper has beside them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from vwlib.book.pages.tables import span
from vwlib.concepts import TASKS
from vwlib.experiments.running import SCHEMAS
from vwlib.ledger import paper
from vwlib.ledger.claims import load_settings
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.judge import claim_cases

#: Ordered pairs of different tasks, as source and target.
PAIRS = [(source, target) for target in TASKS for source in TASKS if source != target]


def grid_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of a grid (`vwlib.ledger.summary.summarise_grid`) for reading: a row for each target and source, with
    the ledger's interval of the trials off the diagonal, and that of the paper, which takes trials for independent.
    """
    keys = ["evaluated_on", "trained_on"]
    parts = {name: part.set_index(keys) for name, part in summary.groupby("trials", sort=False)}
    means, off = parts["all"]["mean"], parts["off-diagonal"].reindex(parts["all"].index)
    shown = {"all trials": means, "off-diagonal": off["mean"]} | _both_intervals(off)
    return pd.DataFrame(shown, index=means.index).rename_axis(["scored on", "learned for"])


def _both_intervals(rows: pd.DataFrame) -> dict[str, list[str]]:
    columns = {"95 % interval": ["low", "high"], "if trials were independent": ["independent_low", "independent_high"]}
    return {name: [span(*row) for row in rows[ends].itertuples(index=False)] for name, ends in columns.items()}


def compare_transfers(trials: pd.DataFrame, world: str) -> pd.DataFrame:
    """Each transfer of unconstrained words, off the diagonal and tested by itself, as the ledger estimates it.

    Columns `dataset`, `source`, `target`; means `mapped`, `own` (words learned in the target) and `anchor`; `gain` over
    the anchor; `worse`, whether the mapped words' mean is clearly below the own words' (a case of claim 5), and
    `better`, whether it is clearly above the anchor's (claim 18).
    """
    worse, gain = (claim_cases(number, {"trials": trials}, SCHEMAS, world) for number in (5, 18))
    rows = []
    for dataset in trials["dataset"].unique():
        for source, target in PAIRS:
            name = f"{source} to {target}, {dataset}"
            if name in gain and name in worse:
                means = (gain[name].means["mapped"], worse[name].means["own"], gain[name].means["floor"])
                clear = (worse[name].interval()[1] < 0, gain[name].interval()[0] > 0)
                rows.append((dataset, source, target, *means, gain[name].value, *clear))
    columns = ["dataset", "source", "target", "mapped", "own", "anchor", "gain", "worse", "better"]
    return pd.DataFrame(rows, columns=columns)


def direction_table(trials: pd.DataFrame, summary: pd.DataFrame, world: str) -> pd.DataFrame:
    """The six directions over all datasets and off the diagonal, with the gain over the anchor that claim 7 asks for.

    `summary` is `vwlib.ledger.summary.summarise_grid` of the same trials.
    """
    off = summary[summary["trials"] == "off-diagonal"].set_index(["trained_on", "evaluated_on"])["mean"]
    gains = claim_cases(7, {"trials": trials}, SCHEMAS, world)
    rows = {
        (source, target): {
            "mapped word": off[source, target],
            "word learned there": off[target, target],
            "anchor word": off["anchor", target],
            "gain over the anchor (claim 7)": signed(gains[f"{source} to {target}"])
            if f"{source} to {target}" in gains
            else "–",
        }
        for source, target in PAIRS
        if (source, target) in off.index
    }
    return pd.DataFrame(rows).T.rename_axis(["learned for", "scored on"])


def signed(found: Estimate) -> str:
    """A difference with its interval, for reading."""
    low, high = found.interval()
    return f"{found.value:+.2f} ({low:+.2f}\u00a0to\u00a0{high:+.2f})"


def kept_shares(summary: pd.DataFrame) -> tuple[float, float]:
    """The median over transfers of the mapped words' mean as a share of the own words' mean; then the same with the
    anchor word's mean taken off both.

    `summary` is `summarise_study`'s for one kind of trials. A transfer whose divisor is zero is left out.
    """
    means = summary.set_index(["dataset", "trained_on", "evaluated_on"])["mean"]
    pairs = [(d, s, t) for d in summary["dataset"].unique() for s, t in PAIRS]
    table = pd.DataFrame(
        [(means[d, s, t], means[d, t, t], means[d, "anchor", t]) for d, s, t in pairs],
        columns=["mapped", "own", "anchor"],
    )
    shares = table["mapped"] / table["own"].where(table["own"] != 0)
    gains = (table["mapped"] - table["anchor"]) / (table["own"] - table["anchor"]).where(
        table["own"] != table["anchor"]
    )
    return float(shares.median()), float(gains.median())


def paper_kept(datasets: Sequence[str], chance: float = 0.0) -> float:
    """Figure 3: the first of `kept_shares` for the paper's own means, with `chance` taken off its accuracies, and
    nothing off average precision.
    """
    table = _paper_figure_three(datasets)
    table["mean"] -= chance * (table["evaluated_on"] != "detection")
    means = table.set_index(["dataset", "trained_on", "evaluated_on"])["mean"]
    return float(pd.Series([means[d, s, t] / means[d, t, t] for d in datasets for s, t in PAIRS]).median())


def own_and_mapped(means: pd.Series) -> tuple[float, float]:
    """The mean over tasks of their own words, and over directions of mapped ones; `means` by source and target."""
    return float(means[[(task, task) for task in TASKS]].mean()), float(means[PAIRS].mean())


def paper_over_datasets(datasets: Sequence[str]) -> pd.DataFrame:
    """The paper's figure 3 over datasets; their intervals are independent, so their widths add up as squares."""
    table = _paper_figure_three(datasets)
    table = table.assign(square=((table["high"] - table["low"]) / 2) ** 2)
    groups = table.groupby(["evaluated_on", "trained_on"], sort=False)
    cells = groups.agg(mean=("mean", "mean"), square=("square", "sum"), n=("mean", "size")).reset_index()
    half = cells.pop("square") ** 0.5 / cells.pop("n")
    return cells.assign(low=cells["mean"] - half, high=cells["mean"] + half)


def _paper_figure_three(datasets: Sequence[str]) -> pd.DataFrame:
    return pd.concat([paper.paper_results("figure_3", dataset) for dataset in datasets], ignore_index=True)


def compare_datasets(summary: pd.DataFrame, delta: float | None = None) -> pd.DataFrame:
    """`vwlib.ledger.paper.beside_paper` for every dataset of a summary of `vwlib.ledger.summary.summarise_study`, over
    all trials of one delta.
    """
    at_delta = summary["delta"].isna() if delta is None else summary["delta"] == delta
    words = summary[(summary["trials"] == "all") & at_delta]
    groups = words.groupby("dataset", sort=False)
    return pd.concat(
        [paper.beside_paper(part, str(dataset), delta).assign(dataset=dataset) for dataset, part in groups],
        ignore_index=True,
    )


def comparison_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The comparison of `vwlib.ledger.paper.beside_paper` or `compare_datasets` for reading."""
    spans = {
        who: [
            f"{mean:.2f}\u00a0({span(low, high)})"
            for mean, low, high in comparison[[f"mean_{who}", f"low_{who}", f"high_{who}"]].itertuples(index=False)
        ]
        for who in ("paper", "ours")
    }
    shown = {"dataset": comparison["dataset"]} if "dataset" in comparison else {}
    return pd.DataFrame(
        shown
        | {
            "scored on": comparison["evaluated_on"],
            "learned for": comparison["trained_on"],
            "paper": spans["paper"],
            "here": spans["ours"],
            "difference": comparison["difference"].map("{:+.2f}".format),
            "holds the paper's mean": comparison["within"].map({True: "yes", False: "no"}),
        }
    )


def off_diagonal_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The trials off the diagonal for reading: a row for each dataset, target and source, between floor and ceiling.

    `summary` is that of `vwlib.ledger.summary.summarise_study` for words of one delta, with the rows of floor and
    ceiling.
    """
    off, keys = summary[summary["trials"] == "off-diagonal"], ["dataset", "evaluated_on", "trained_on"]
    means, order = (
        off.set_index(keys)["mean"],
        {name: place for place, name in enumerate((*off["dataset"].unique(), *TASKS))},
    )
    rows = off[off["trained_on"].isin(TASKS)].sort_values(keys, key=lambda column: column.map(order))
    shown = {
        "anchor word": [means[row.dataset, row.evaluated_on, "anchor"] for row in rows.itertuples()],
        "learned word": list(rows["mean"]),
        **_both_intervals(rows),
        "concept's name": [means[row.dataset, row.evaluated_on, "name"] for row in rows.itertuples()],
    }
    index = pd.MultiIndex.from_frame(rows[keys], names=["dataset", "scored on", "learned for"])
    return pd.DataFrame(shown, index=index)


def premise(over: pd.DataFrame) -> pd.DataFrame:
    """What the study presupposes: the mean score of unconstrained words on their own task, off the diagonal and over
    all datasets, beside what `data/paper/claims.toml` wants.

    Columns `mean`, `wanted` and `holds`, a row a task; `over` is `vwlib.ledger.summary.summarise_grid` of all datasets.
    """
    own = over[(over["trials"] == "off-diagonal") & (over["trained_on"] == over["evaluated_on"])]
    means = own.set_index("evaluated_on")["mean"]
    wanted = pd.Series(load_settings().premise).reindex(means.index)
    return pd.DataFrame({"mean": means, "wanted": wanted, "holds": means >= wanted}).rename_axis("task")
