"""Tables of transfers: a grid's means, each transfer tested, directions, the paper's beside them, and kinds of map."""

from collections.abc import Sequence

import pandas as pd

from vwlib.book.pages.experiments import tables_of
from vwlib.book.pages.tables import estimated, span, with_interval
from vwlib.concepts import TASKS
from vwlib.experiments.carried import row_table
from vwlib.experiments.running import SCHEMAS
from vwlib.ledger.claims import Arm, load_settings
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.judge import claim_cases
from vwlib.ledger.judgements import LEVEL
from vwlib.ledger.paper import paper_results
from vwlib.ledger.statistics import holm, two_way_clustered_estimate
from vwlib.maps import PAPER_MAP
from vwlib.settings import Profile
from vwlib.study.read import study_of
from vwlib.study.store import results_root

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


def gains(trials: pd.DataFrame, world: str, *each: str) -> dict[str, Estimate]:
    """What mapped words of the forty concepts score more than their anchor words there, by values of columns."""
    arms = {"mapped": Arm(role="mapped"), "floor": Arm(role="floor")}
    changes = {"data": "forty", "each": list(each), "arms": arms, "value": {"": "mapped - floor"}}
    return claim_cases(7, {"trials": trials}, SCHEMAS, world, **changes)


def compare_transfers(trials: pd.DataFrame, world: str) -> pd.DataFrame:
    """Each transfer of unconstrained words, off the diagonal and tested by itself, as the ledger estimates it.

    Columns `dataset`, `source`, `target`; means `mapped`, `own` (words learned in the target) and `anchor`; `gain` over
    the anchor (`gains`); `worse`, whether the mapped words' mean is clearly below the own words', and `better`, whether
    it is clearly above the anchor's.
    """
    each = ("trained_on", "evaluated_on", "dataset")
    worse = claim_cases(5, {"trials": trials}, SCHEMAS, world, data="forty", each=list(each))
    gain, rows = gains(trials, world, *each), []
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
    """The six directions over all datasets, off the diagonal, with `gains`; `summary` is of the same trials."""
    off = summary[summary["trials"] == "off-diagonal"].set_index(["trained_on", "evaluated_on"])["mean"]
    found = gains(trials, world, "trained_on", "evaluated_on")
    gain = {name: estimated(estimate, "+.2f") for name, estimate in found.items()}
    rows = [
        (s, t, off[s, t], off[t, t], off["anchor", t], gain.get(f"{s} to {t}", "–"))
        for s, t in PAIRS
        if (s, t) in off.index
    ]
    columns = ["learned for", "scored on", "mapped word", "word learned there", "anchor word", "gain over the anchor"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:2])


def rows_of(profile: Profile) -> pd.DataFrame:
    """`row_table` of a profile's study. Raises FileNotFoundError that names the command where a table is missing."""
    tables = tables_of(profile, ["other_maps", "twin", "ceilings", "carried_anchors"])
    return row_table(study_of(profile, results_root(profile)).table, tables, profile.world)


def kept_share(means: pd.DataFrame, floor: pd.Series | float = 0.0) -> float:
    """The median over transfers of mapped words' means as shares of own words' means, a floor taken off both.

    `means` has columns `dataset`, `evaluated_on`, `trained_on`, `mean`; `floor` may differ by dataset and target.
    """
    table = means.pivot_table(index=["dataset", "evaluated_on"], columns="trained_on", values="mean")
    table = table[list(TASKS)].sub(floor, axis=0)
    shares = {
        (dataset, source, target): row[source] / row[target]
        for (dataset, target), row in table.iterrows()
        for source in TASKS
        if source != target and row[target]
    }
    return float(pd.Series(shares).median())


def paper_over_datasets(datasets: Sequence[str]) -> pd.DataFrame:
    """The paper's figure 3 over datasets; their intervals are independent, so their widths add up as squares."""
    table = paper_results("figure_3")
    table = table[table["dataset"].isin(datasets)]
    table = table.assign(square=((table["high"] - table["low"]) / 2) ** 2)
    groups = table.groupby(["evaluated_on", "trained_on"], sort=False)
    cells = groups.agg(mean=("mean", "mean"), square=("square", "sum"), n=("mean", "size")).reset_index()
    half = cells.pop("square") ** 0.5 / cells.pop("n")
    return cells.assign(low=cells["mean"] - half, high=cells["mean"] + half)


def comparison_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The comparison of `vwlib.ledger.paper.beside_paper` for reading; a single dataset is not named."""
    shown = {"dataset": comparison["dataset"]} if comparison["dataset"].nunique() > 1 else {}
    shown |= {"scored on": comparison["evaluated_on"], "learned for": comparison["trained_on"]}
    for name, who in (("paper", "paper"), ("here", "ours")):
        ends = comparison[[f"mean_{who}", f"low_{who}", f"high_{who}"]]
        shown[name] = [with_interval(*row) for row in ends.itertuples(index=False)]
    return pd.DataFrame(shown).assign(
        difference=comparison["difference"].map("{:+.2f}".format),
        **{"holds the paper's mean": comparison["within"].map({True: "yes", False: "no"})},
    )


def off_diagonal_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The trials off the diagonal, a row for each dataset, target and source, between floor and ceiling.

    `summary` is `summarise_study`'s for words of one delta.
    """
    off, keys = summary[summary["trials"] == "off-diagonal"], ["dataset", "evaluated_on", "trained_on"]
    means = off.set_index(keys)["mean"]
    order = {name: place for place, name in enumerate((*off["dataset"].unique(), *TASKS))}
    rows = off[off["trained_on"].isin(TASKS)].sort_values(keys, key=lambda column: column.map(order))
    floor, ceiling = (
        [means[row.dataset, row.evaluated_on, name] for row in rows.itertuples()] for name in ("anchor", "name")
    )
    shown = {
        "anchor word": floor,
        "learned word": list(rows["mean"]),
        **_both_intervals(rows),
        "concept's name": ceiling,
    }
    return pd.DataFrame(shown, pd.MultiIndex.from_frame(rows[keys], names=["dataset", "scored on", "learned for"]))


def kind_table(quality: pd.DataFrame) -> pd.DataFrame:
    """Each kind of map's means over pairs (`quality_of_kinds`), and for how many it beats the paper's."""
    columns = ["r2_fitted", "r2", "cosine", "top1", "top5"]
    pairs = quality.groupby(["map", "source", "target"], sort=False)[columns].mean()
    r2 = pairs["r2"].unstack("map")
    better = r2.gt(r2[PAPER_MAP], axis=0).sum().astype(str)
    shown = pairs.groupby(level="map", sort=False).mean()
    return shown.assign(**{"pairs better than the paper's": better.where(better.index != PAPER_MAP, "")})


def compare_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """How much higher words score by each kind of map than by the paper's, over all pairs: table `map_kinds`.

    `difference` with its 95 % interval `low` to `high`; `p`, two-sided and corrected for the number of kinds (Holm);
    `alike`, whether the difference is surely within the margin of `data/paper/claims.toml`.
    """
    margin, arms = load_settings().alike, {str(kind): rows for kind, rows in table.groupby("map", sort=False)}
    paper, rows = arms.pop(PAPER_MAP), {}
    for kind, words in arms.items():
        found = two_way_clustered_estimate({"kind": words, "paper": paper}, "kind - paper", limits=(0, 1))
        p = min(1.0, 2 * min(found.p_above(0), found.p_below(0)))
        rows[kind] = (found.value, *found.interval(), p, found.p_within(-margin, margin) < LEVEL)
    columns = ["difference", "low", "high", "p", "alike"]
    compared = pd.DataFrame(list(rows.values()), pd.Index(list(rows), name="map"), columns)
    return compared.assign(p=holm(compared["p"]))


def gain_table(table: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Each kind of map's mean score and gain over the anchor word for reading, beside `compare_kinds`."""
    shown = table.groupby("map", sort=False)[["r2", "value", "gain"]].mean()
    beside = {
        f"less {PAPER_MAP}": compared["difference"].map("{:+.2f}".format),
        "interval": [span(*row) for row in compared[["low", "high"]].itertuples(index=False)],
        "p": compared["p"],
        "alike": compared["alike"].map({True: "yes", False: "no"}),
    }
    names = {"r2": "r2 of held-out words", "value": "score", "gain": "gain over the anchor"}
    return shown.join(pd.DataFrame(beside)).rename(columns=names)
