"""A grid of trials: its summary, beside the paper's, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from vwlib.book.pages.tables import span
from vwlib.concepts import TASKS
from vwlib.ledger import paper
from vwlib.ledger.statistics import two_way_clustered_estimate
from vwlib.ledger.summary import is_diagonal

#: Without words that do their own task nothing follows from how they transfer. What their mean off the diagonal, over
#: all datasets, had to reach before the grid was computed: accuracy, and mean average precision.
PREMISE = {"generation": 0.85, "detection": 0.5, "classification": 0.85}
#: What was computed, by the concepts of a profile: an answer is about these models and no others.
JUDGED = {"miniature": "in the miniature", "paper": "with the paper's models"}


def grid_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of a grid for reading: a row for each target and source, with both intervals of the trials off the
    diagonal.
    """
    parts = {
        name: part.set_index(["evaluated_on", "trained_on"]) for name, part in summary.groupby("trials", sort=False)
    }
    off = parts["off-diagonal"].reindex(parts["all"].index)
    shown = {
        "all trials": parts["all"]["mean"],
        "off-diagonal": off["mean"],
        "interval, independent": [span(*row) for row in off[["low", "high"]].itertuples(index=False)],
        "interval, crossed": [span(*row) for row in off[["crossed_low", "crossed_high"]].itertuples(index=False)],
    }
    return pd.DataFrame(shown, index=parts["all"].index).rename_axis(["scored on", "learned for"])


def transfer_findings(summary: pd.DataFrame) -> dict[str, int | float | str]:
    """What the transfers come to, in numbers and names for the text; `summary` is `summarise_grid`'s for one kind of
    trials, perhaps with `dataset`.

    A transfer's gain is its mean minus the floor, the anchor word's mean in the target. `below_own` counts the
    transfers whose crossed interval ends below the mean of the target's own words, `above_floor` those whose interval
    begins above the floor. `kept` is the median of a transfer's mean as a share of the target's own words' mean, over
    the transfers where the latter is not zero; `kept_gain` is that with the floor taken off both.
    """
    cells = summary.assign(dataset=summary.get("dataset", "")).set_index(["dataset", "trained_on", "evaluated_on"])
    datasets = list(cells.index.unique("dataset"))
    pairs = [
        (dataset, source, target) for dataset in datasets for target in TASKS for source in TASKS if source != target
    ]
    own = {pair: float(cells.loc[(pair[0], pair[2], pair[2]), "mean"]) for pair in pairs}
    floor = {pair: float(cells.loc[(pair[0], "anchor", pair[2]), "mean"]) for pair in pairs}
    gains = pd.Series({pair: cells.loc[pair, "mean"] - floor[pair] for pair in pairs})
    by_source = gains.groupby(level=1).mean().sort_values(ascending=False)
    best = gains.idxmax()
    return {
        "transfers": len(pairs),
        "below_own": sum(bool(cells.loc[pair, "crossed_high"] < own[pair]) for pair in pairs),
        "above_floor": sum(bool(cells.loc[pair, "crossed_low"] > floor[pair]) for pair in pairs),
        "kept": float(
            pd.Series([cells.loc[pair, "mean"] / own[pair] for pair in pairs if own[pair]], dtype=float).median()
        ),
        "kept_gain": float(
            pd.Series(
                [gains[pair] / (own[pair] - floor[pair]) for pair in pairs if own[pair] != floor[pair]], dtype=float
            ).median()
        ),
        "best_dataset": best[0],
        "best_source": best[1],
        "best_target": best[2],
        "best_mean": float(cells.loc[best, "mean"]),
        "best_floor": floor[best],
        "best_own": own[best],
        "order": ", ".join(f"{source} ({gain:+.2f})" for source, gain in by_source.items()),
        "own_low": min(own.values()),
        "own_high": max(own.values()),
    }


def over_datasets(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """Figure 3 in one row: means over datasets of a study's unconstrained words, of floor and of ceiling, with
    intervals that resample concepts and anchors.

    Columns `evaluated_on`, `trained_on`, `trials` ("all" or "off-diagonal"), `mean`, `low`, `high`; `table` is the
    study's.
    """
    free = table[table["delta"].isna()]
    parts = {"all": free, "off-diagonal": free[~is_diagonal(free, world)]}
    rows = []
    for trials, part in parts.items():
        for (target, source), cells in part.groupby(["evaluated_on", "trained_on"], sort=False):
            found = two_way_clustered_estimate({"mean": cells}, "mean", limits=(0, 1))
            rows.append((target, source, trials, found.value, *found.interval()))
    return pd.DataFrame(rows, columns=["evaluated_on", "trained_on", "trials", "mean", "low", "high"])


def paper_over_datasets(datasets: Sequence[str]) -> pd.DataFrame:
    """The same of the paper's figure 3; its datasets' intervals are independent, so their widths add up as squares."""
    table = pd.concat([paper.paper_results("figure_3", dataset) for dataset in datasets])
    table = table.assign(square=((table["high"] - table["low"]) / 2) ** 2)
    cells = (
        table.groupby(["evaluated_on", "trained_on"], sort=False)
        .agg(mean=("mean", "mean"), square=("square", "sum"), n=("mean", "size"))
        .reset_index()
    )
    half = cells["square"] ** 0.5 / cells["n"]
    return cells.assign(low=cells["mean"] - half, high=cells["mean"] + half).drop(columns=["square", "n"])


def answer_sentence(ours: pd.DataFrame, theirs: pd.DataFrame, world: str = "miniature") -> str:
    """The book's question and its answer; `ours` is the table of `over_datasets`, `theirs` that of
    `paper_over_datasets`, `world` that of ours (`JUDGED`).

    Off the diagonal, a direction counts as clear where its interval lies beside the mean of the anchor word, or of the
    target's own words.
    """
    off = ours[ours["trials"] == "off-diagonal"].set_index(["trained_on", "evaluated_on"])
    pairs = [(source, target) for target in TASKS for source in TASKS if source != target]
    above = sum(bool(off.loc[pair, "low"] > off.loc[("anchor", pair[1]), "mean"]) for pair in pairs)
    below = sum(bool(off.loc[pair, "high"] < off.loc[(pair[1], pair[1]), "mean"]) for pair in pairs)
    if above:
        answer = "yes, as far as these scores tell." if above == len(pairs) and not below else "only in part."
    else:
        answer = "no." if below == len(pairs) else "these scores cannot tell."
    floor = off.xs("anchor")["mean"].mean()
    own, moved = _own_and_carried(off["mean"])
    told = f"Words that start at another concept's word score {own:.2f} of 1 in the mean on the task that they were learned for, and {moved:.2f} carried into"
    told += f" another model, where the anchor words alone have {floor:.2f}. In {above} of {len(pairs)} directions they are clearly better than the anchor"
    told += f" words, and in {below} clearly worse than the words that were learned there."
    their_own, their_moved = _own_and_carried(theirs.set_index(["trained_on", "evaluated_on"])["mean"])
    told += f" The paper has {their_own:.2f} and {their_moved:.2f} over all of its trials, a tenth of which start at the concept's own word."
    told += " It gives no floor; to guess among ten names would be right in 0.10."
    where = f"{JUDGED[world][0].upper()}{JUDGED[world][1:]}"
    return f"Do they learn the same word? {where}, {answer} {told}"


def _own_and_carried(means: pd.Series) -> tuple[float, float]:
    """The mean over tasks of their own words, and over directions of carried ones, from means by source and target."""
    pairs = [(source, target) for source in TASKS for target in TASKS]
    return tuple(
        float(means.loc[[pair for pair in pairs if (pair[0] == pair[1]) == same]].mean()) for same in (True, False)
    )  # type: ignore[return-value]


def paper_kept(datasets: Sequence[str], chance: float = 0.0) -> float:
    """Figure 3: `kept` of `transfer_findings` for the paper's own means, with `chance` taken off its accuracies, and
    nothing off average precision.
    """
    table = pd.concat([paper.paper_results("figure_3", dataset) for dataset in datasets])
    means = table.set_index(["dataset", "trained_on", "evaluated_on"])["mean"]
    means = means - chance * (means.index.get_level_values("evaluated_on") != "detection")
    return float(
        pd.Series([mean / means[(key[0], key[2], key[2])] for key, mean in means.items() if key[1] != key[2]]).median()
    )


def compare_datasets(summary: pd.DataFrame, delta: float | None = None) -> pd.DataFrame:
    """`vwlib.ledger.paper.beside_paper` for every dataset of a summary of `vwlib.study.read.summarise_study`, over all
    trials of one delta.
    """
    words = summary[
        (summary["trials"] == "all") & (summary["delta"].isna() if delta is None else summary["delta"] == delta)
    ]
    parts = {
        dataset: paper.beside_paper(part, str(dataset), delta) for dataset, part in words.groupby("dataset", sort=False)
    }
    return pd.concat(parts, names=["dataset"]).reset_index("dataset").reset_index(drop=True)


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
    """The trials off the diagonal for reading: a row for each dataset, target and source, with both intervals between
    floor and ceiling.

    `summary` is that of `vwlib.study.read.summarise_study` for words of one delta, with the rows of floor and ceiling.
    """
    off = summary[summary["trials"] == "off-diagonal"]
    means = off.set_index(["dataset", "evaluated_on", "trained_on"])["mean"]
    rows = off[off["trained_on"].isin(TASKS)].sort_values(
        ["evaluated_on", "trained_on"], key=lambda column: column.map(TASKS.index), kind="stable"
    )
    shown = {
        "anchor word": [means[(row.dataset, row.evaluated_on, "anchor")] for row in rows.itertuples()],
        "learned word": list(rows["mean"]),
        "interval, independent": [span(*row) for row in rows[["low", "high"]].itertuples(index=False)],
        "interval, crossed": [span(*row) for row in rows[["crossed_low", "crossed_high"]].itertuples(index=False)],
        "concept's name": [means[(row.dataset, row.evaluated_on, "name")] for row in rows.itertuples()],
    }
    index = pd.MultiIndex.from_frame(
        rows[["dataset", "evaluated_on", "trained_on"]], names=["dataset", "scored on", "learned for"]
    )
    order = {dataset: place for place, dataset in enumerate(rows["dataset"].unique())}
    return pd.DataFrame(shown, index=index).sort_index(
        level="dataset", key=lambda level: level.map(order), sort_remaining=False, kind="stable"
    )


def premise(over: pd.DataFrame) -> pd.DataFrame:
    """What the study rests on: mean score of unconstrained words on their own task, off the diagonal and over its
    datasets, beside `PREMISE`.

    Columns `mean`, `wanted` and `holds`, a row a task; `over` is the table of `over_datasets`.
    """
    own = over[(over["trials"] == "off-diagonal") & (over["trained_on"] == over["evaluated_on"])]
    means = own.set_index("evaluated_on")["mean"]
    rows = [
        (task, means[task], wanted, bool(means[task] >= wanted)) for task, wanted in PREMISE.items() if task in means
    ]
    return pd.DataFrame(rows, columns=["task", "mean", "wanted", "holds"]).set_index("task")


def premise_sentence(over: pd.DataFrame) -> str:
    """Whether words do their own tasks well enough for their transfers to mean something, in a sentence for each case."""
    found = premise(over)
    told = ", ".join(f"{row.mean:.2f} in {row.Index} (wanted: {row.wanted:g})" for row in found.itertuples())
    fault = (
        "in the mean, a transfer that fails does not fail" if found["holds"].all() else "a transfer that fails may fail"
    )
    return f"Off the diagonal and over all datasets, words on their own task reach {told}: {fault} for want of a word that works."
