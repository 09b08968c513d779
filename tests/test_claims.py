"""The ledger: all 57 claims load, each can come out either way, too little decides nothing, and the file says what was
found.
"""

import itertools
import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from vwlib.book.pages.ledger import for_file, here_text, in_words
from vwlib.concepts import DATASETS, TASKS, concepts_of
from vwlib.experiments.running import SCHEMAS
from vwlib.ledger import judge as ledger
from vwlib.ledger.claims import load_claims, load_settings
from vwlib.ledger.estimate import evaluate
from vwlib.ledger.judge import claim_cases
from vwlib.ledger.tables import OTHERS, prepare
from vwlib.ledger.verdicts import VERDICTS, verdict_counts, write_claims
from vwlib.paths import DATA

KINDS = {**OTHERS, **SCHEMAS}
CLAIMS = {claim.id: claim for claim in load_claims()}
DELTAS = (np.nan, 0.1, 0.2, 0.5, 1.0)
DRAWS = 200
NOISE = 0.02


def judge_claims(tables, profile="miniature", **options):
    """The verdicts in words, with the schemas of all tables."""
    judged = ledger.judge_claims(tables, SCHEMAS, profile, **options)
    return in_words(judged, ledger.load_claims(options["path"]) if "path" in options else ledger.load_claims())


def crossed(size=10, **columns):
    """A row for every dataset, concept, anchor and combination of further columns."""
    grid = [
        (d, c.name, a.anchor)
        for d in DATASETS
        for c, a in itertools.product(concepts_of(d, "miniature")[:size], repeat=2)
    ]
    further = list(itertools.product(*columns.values()))
    rows = [(*cell, *values) for cell in grid for values in further]
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", *columns])


def blank(name, size=10, deltas=(np.nan,)):
    """A table of the ledger with every row that its claims ask for, and 0.5 wherever something is measured."""
    kinds = sorted(
        {arm.kind for claim in CLAIMS.values() if claim.table == name for arm in claim.arms.values() if arm.kind}
    )
    words = {"kind": kinds} if kinds else {}
    if name == "trials":
        words = crossed(size, trained_on=TASKS, evaluated_on=TASKS, delta=deltas, value=[0.5])
        return pd.concat(
            [words, crossed(size, trained_on=["anchor", "name"], evaluated_on=TASKS, delta=[np.nan], value=[0.5])],
            ignore_index=True,
        )
    if name == "displacements":
        return crossed(size, task=TASKS, delta=DELTAS, distance=[0.4], nearest=["?"], is_anchor=[True])
    if name == "mapped_displacements":
        return crossed(size, trained_on=TASKS, evaluated_on=TASKS, delta=[np.nan], is_anchor=[True])
    if name == "maps":
        return pd.DataFrame(
            [(f"w{i}", s, t, 0.5) for i in range(2 * size - 1) for s in TASKS for t in TASKS],
            columns=["word", "source", "target", "top1"],
        )
    if name == "clusters":
        columns = ["dataset", "task", "kind", "delta", "layer", "by", "ari", "low", "high"]
        return pd.DataFrame(
            [
                (d, t, "learned", np.nan, layer, "concept - anchor", 0.0, -0.05, 0.05)
                for d in DATASETS[:size]
                for t in TASKS[:size]
                for layer in range(7)
            ],
            columns=columns,
        )
    if name == "truncation":
        return crossed(
            size,
            task=TASKS,
            **words,
            delta=[np.nan, 0.5],
            blocks=[0, 1, 2, 4, 6],
            of=["concept", "anchor"],
            value=[0.5],
        )
    if name == "crossings":
        return crossed(size, task=TASKS, **words, delta=[np.nan, 0.5], crossing=[3.0], depth=[6])
    if name == "sweep":
        return crossed(size, task=TASKS, steps=[50, 100, 200], value=[0.5])
    if name == "compounds":
        rows = itertools.product(TASKS, range(2 * size - 1), kinds)
        return pd.DataFrame(
            [(task, f"c{i}", kind, 0.5) for task, i, kind in rows], columns=["task", "concept", "kind", "residual"]
        )
    measured = {
        column: [0.5]
        for column in KINDS[name].columns
        if column not in ("dataset", "concept", "anchor", "delta", "task", "kind")
    }
    task = {"task": TASKS} if "task" in KINDS[name].columns else {}
    table = crossed(size, **task, **words, delta=[np.nan, 0.5], **measured)
    if KINDS[name].pairs:
        following = dict(itertools.pairwise([*table["anchor"].unique(), table["anchor"].iloc[0]]))
        table["anchor"] += " and " + table["anchor"].map(following)
    return table


def means_for(claim, holds):
    """Means of the arms with which a claim is as plainly true, or false, as can be, in every case."""
    rng = np.random.default_rng(0)
    lowest = {"ari": -0.9}.get(claim.measure, 0.03)
    levels = {
        name: np.linspace(0.4 if name in ("own", "GG", "DD", "CC") else lowest, 0.97, 11) for name in claim.arms
    }  # what is divided by is not small
    means = {name: rng.choice(level, 20000) for name, level in levels.items()}
    values = np.array([evaluate(expression, means) for expression in claim.value.values()])
    bound = 0.0 if claim.positive else claim.bound
    against = bound if claim.against is None else claim.against
    if claim.test == "equivalent":
        slack = (claim.margin - abs(values)) * (1 if holds else -1)
    else:
        slack = (values - (bound if holds else against)) * (1 if (claim.test == "above") == holds else -1)
    best = slack.min(axis=0).argmax()
    assert slack[:, best].min() > 0.04, f"claim {claim.id} cannot come out {holds}"
    return {name: mean[best] for name, mean in means.items()}


def set_measure(claim, table, rows, mean, rng):
    """Give rows of a table a mean of the claim's measure, by changing what it is derived from."""
    own, chance = claim.measure, rng.random(len(rows)) < mean
    if own == "names_concept":
        names = {concept.name: concept.anchor for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
        table.loc[rows, "nearest"] = np.where(chance, table.loc[rows, "concept"].map(names), "?")
    elif own == "never":
        table.loc[rows, "crossing"] = np.where(chance, np.nan, 3.0)
    elif own == "crossing_share":
        table.loc[rows, "crossing"] = np.rint(mean * 6)
    elif own in ("is_anchor", "kept", "found", "agrees"):
        table[own] = table[own].astype(float)
        table.loc[rows, own] = chance.astype(float)
    else:
        table.loc[rows, own] = np.clip(mean + rng.normal(0, NOISE, len(rows)), -1 if own == "ari" else 0, 1)
    if own == "ari":
        table.loc[rows, "low"], table.loc[rows, "high"] = table.loc[rows, own] - 0.05, table.loc[rows, own] + 0.05


def made(claim, holds, size=10):
    """A table on which a claim is plainly true, or plainly false."""
    rng = np.random.default_rng(claim.id)
    table = blank(
        claim.table, size, {np.nan, *(arm.delta for arm in claim.arms.values() if isinstance(arm.delta, float))}
    )
    if claim.x:
        sign = 1 if (claim.test == "above") == holds else -1
        x = (
            table["concept"].map({name: i for i, name in enumerate(table["concept"].unique())})
            / table["concept"].nunique()
        )
        return table.assign(
            **{claim.x: x, claim.measure: 0.5 + sign * 0.3 * (x - 0.5) + rng.normal(0, NOISE, len(table))}
        )
    ready = prepare(claim.table, table, "miniature", KINDS)
    for name, mean in means_for(claim, holds).items():
        for case in ledger._cases(claim, "miniature"):
            rows = claim.arms[name].choose(ready, case).index
            set_measure(claim, table, rows, mean, rng)
            if claim.id == 42 and holds and name == "half" and len(rows):
                # Ten concepts that all succeed cannot exclude that one in ten does not (0.9 ** 10 = 0.35), so that
                # there has to be a spread.
                table.loc[rng.choice(rows, min(2, len(rows))), claim.measure] = 0.0
    return table


def alone(claim, tmp_path, monkeypatch):
    """Judge with one claim of the ledger only."""
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [claim])
    return lambda table: judge_claims({claim.table.replace("grid_effects", "trials"): table}, draws=DRAWS).iloc[0]


def write_ledger(path, *claims):
    """A small ledger file of TOML lines."""
    path.write_text("\n".join("[[claim]]\n" + claim for claim in claims))
    return path


SMALL = """id = {id}
claim = "Words work."
place = "section 1"
scope = "miniature"
table = "sweep"
quantity = "the score"
arms = {{ words = {{ stage = "last", task = "detection" }} }}
value = "words"
{test}
"""


def small_ledger(tmp_path, test, count=1):
    return write_ledger(
        tmp_path / "claims.toml", *(SMALL.format(id=number, test=test) for number in range(1, count + 1))
    )


def scores(mean, size=10, noise=0.1, seed=0):
    """A sweep whose scores spread around exactly `mean`, for each task and number of steps."""
    table = blank("sweep", size)
    table["value"] = np.random.default_rng(seed).normal(0, noise, len(table))
    return table.assign(
        value=(mean + table["value"] - table.groupby(["task", "steps"])["value"].transform("mean")).clip(0, 1)
    )


def test_all_claims_are_there_and_whole():
    assert list(CLAIMS) == list(range(1, 58))
    for claim in CLAIMS.values():
        claim.check_columns(KINDS)


def test_bounds_are_in_the_rule(unjudged):
    assert [number in unjudged.loc[5, "rule"] for number in ("below 0 ", "above -0.1 ", "p < 0.05")] == [True] * 3
    assert all(unjudged["rule"].str.endswith(".")) and all(unjudged["test"])


def test_the_settings_hold_for_every_outcome():
    """The question is answered whatever the verdicts on claims 5 and 7 are, the premise has every task."""
    settings = load_settings()
    found = {(a, b): settings.answer({7: a, 5: b}) for a, b in itertools.product(VERDICTS, repeat=2)}
    assert found["contradicted", "contradicted"] == "yes" and found["replicated", "replicated"] == "no"
    assert found["contradicted", "undecided"] == "at least in part" and found["undecided", "replicated"] == "undecided"
    assert (set(settings.premise), settings.level, settings.alike, settings.solves) == (set(TASKS), 0.05, 0.1, 0.5)


def test_a_page_takes_a_claims_numbers_from_the_ledger(tmp_path):
    """One estimate for text and ledger, with the means of its arms on the cells that they share."""
    table = made(CLAIMS[25], True)
    rows = judge_claims({"offsets": table}, draws=1000).set_index("id")
    (estimate,) = claim_cases(25, {"offsets": table}, SCHEMAS, "miniature").values()
    assert estimate.value == pytest.approx(rows.loc[25, "ours"], abs=1e-12)
    assert estimate.interval() == pytest.approx(rows.loc[25, "interval"], abs=1e-12)
    assert estimate.means["models"] - estimate.means["seeds"] == pytest.approx(estimate.value)
    assert claim_cases(25, {}, SCHEMAS, "miniature") == {}


@pytest.fixture(scope="module")
def unjudged():
    """The whole ledger without any table."""
    return judge_claims({}).set_index("id", drop=False)


def test_without_tables_nothing_fails_and_the_reasons_name_what_is_missing(unjudged):
    judged = unjudged
    assert (
        judged.loc[1, "why"] == "The table 'trials' is missing (scores of the study's words); `vwlib study` makes it."
    )
    weights = [*range(10, 16), 50, 55]
    assert set(judged.loc[weights, "verdict"]) == {"not decidable at this scale"}
    assert (judged.loc[23, "verdict"], judged.loc[52, "verdict"]) == ("contradicted", "replicated")
    rest = judged.drop([*weights, 23, 52])
    assert set(rest["verdict"]) == {"undecided"}
    assert rest["why"].str.len().min() > 20


def test_the_papers_numbers_come_from_its_figures(unjudged):
    judged = unjudged
    assert judged.loc[1, "paper"] == "0.97 to 1.00"
    assert judged.loc[15, "paper"] == "text: 28 %; figures: 0.27"
    assert judged.loc[23, "ours"] == pytest.approx(0.159 / 0.801)
    assert "Text and figure disagree" in judged.loc[23, "note"]
    assert judged.loc[27, "paper"] == judged.loc[26, "paper"] == "no number"  # the figures do not tell the diagonal


def test_words_that_turn_at_once_do_not_act_in_the_last_layers_though_real_words_turn_at_once_too(
    tmp_path, monkeypatch
):
    table = blank("crossings").assign(crossing=1.0)
    judged = alone(CLAIMS[43], tmp_path, monkeypatch)(table)
    assert judged["verdict"] == "contradicted" and "in the second half" in judged["case"]


TESTED = [
    c
    for c in CLAIMS.values()
    if c.scope != "real weights" and c.test not in ("number", "equals") and c.table not in ("paper", "grid_effects")
]


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: f"claim {claim.id}")
def test_a_claim_is_replicated_contradicted_or_undecided(claim, tmp_path, monkeypatch):
    judge = alone(claim, tmp_path, monkeypatch)
    true, false, little = judge(made(claim, True)), judge(made(claim, False)), judge(made(claim, True, size=1))
    assert [true["verdict"], false["verdict"], little["verdict"]] == ["replicated", "contradicted", "undecided"], (
        true["why"],
        false["why"],
        little["why"],
    )
    assert true["p"] < 0.05
    assert true["interval"][0] <= true["ours"] <= true["interval"][1]
    assert little["why"]


@pytest.mark.parametrize(
    ("share", "size", "verdict"), [(1.0, 10, "replicated"), (0.7, 10, "contradicted"), (1.0, 1, "undecided")]
)
def test_a_number_is_the_papers_or_not(share, size, verdict, tmp_path, monkeypatch):
    claim = CLAIMS[14].model_copy(update={"scope": "miniature"})  # else the paper's own models decide
    table = blank("trials", size)
    paper = 0.416 / 0.7
    same = table["trained_on"] == table["evaluated_on"]
    table["value"] = np.where(same, 0.8, 0.8 * paper * share) + np.random.default_rng(0).normal(0, NOISE, len(table))
    row = alone(claim, tmp_path, monkeypatch)(table)
    assert row["verdict"] == verdict
    assert row["cases"][0]["paper"] == pytest.approx(0.594, abs=1e-3)


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_shared_concepts_make_intervals_wider_than_independent_trials(spread, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    table = blank("trials")
    of_concept = {key: rng.normal(0, spread) for key in table.groupby(["dataset", "concept"]).groups}
    table["value"] = np.clip(
        0.5
        + rng.normal(0, 0.1, len(table))
        + [of_concept[key] for key in zip(table["dataset"], table["concept"], strict=True)],
        0,
        1,
    )
    verdict = alone(CLAIMS[53], tmp_path, monkeypatch)(table)["verdict"]
    assert verdict == "contradicted" if spread else verdict != "contradicted"


def test_an_exact_claim_fails_with_a_single_exception(tmp_path, monkeypatch):
    judge = alone(CLAIMS[32], tmp_path, monkeypatch)
    table = blank("displacements")
    assert judge(table)["verdict"] == "replicated"
    table.loc[(table["delta"] == 0.2).idxmax(), "is_anchor"] = False
    assert judge(table)["verdict"] == "contradicted"
    row = judge(blank("displacements")[table["delta"] != 0.1])
    assert row["verdict"] == "undecided"
    assert row["why"] == "The table 'displacements' has no rows for 'tenth' (delta 0.1)."


def test_a_changed_table_changes_the_verdict(tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5')
    verdicts = [
        judge_claims({"sweep": scores(mean)}, path=path, draws=DRAWS)["verdict"].item() for mean in (0.7, 0.5, 0.3)
    ]
    assert verdicts == ["replicated", "undecided", "contradicted"]


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.06, "undecided"), (0.04, "undecided"), (0.2, "replicated"), (-0.1, "contradicted")]
)
def test_an_effect_that_is_there_but_does_not_matter_decides_nothing(effect, verdict, tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5\nagainst = 0.6')
    row = judge_claims({"sweep": scores(0.5 + effect, noise=0.02)}, path=path, draws=DRAWS).iloc[0]
    assert row["verdict"] == verdict
    assert ("smaller than what matters" in row["why"]) == (verdict == "undecided")


def test_cases_are_counted_once():
    small = ledger.ClaimCase("a", p_for=0.001, p_against=0.001)
    for_it, against = ledger.ClaimCase("b", p_for=0.001), ledger.ClaimCase("c", p_against=0.001)
    found = ledger.Judgement(CLAIMS[5], "", [small, for_it, for_it, against])
    assert found.singly == {"for": 2, "small": 1, "against": 1}


def test_a_rule_that_is_not_as_first_published_says_when_and_how_it_changed():
    """The digests are of commit 4700815: whoever changes a rule keeps its first form, under `first`, and says what
    changed, under `revised`.
    """
    published = tomllib.loads((DATA / "paper" / "first_rules.toml").read_text())["digests"]
    first = {int(number): digest for number, digest in published.items()}
    assert {number: (claim.first or claim).digest for number, claim in CLAIMS.items()} == first
    changed = {number for number, claim in CLAIMS.items() if claim.digest != first[number]}
    assert changed == {claim.id for claim in CLAIMS.values() if claim.revised}
    assert changed == {4, *range(10, 16), 18, 26, 29, 31, 39, 41, 43, 44, 45, 46, 47, 48, 49, 50, 56}
    assert all(list(claim.revised) == sorted(claim.revised) for claim in CLAIMS.values())


def test_a_digest_is_of_what_decides_and_not_of_words():
    claim = CLAIMS[5]
    assert claim.model_copy(update={"quantity": "another name", "note": "A note.", "figure": ""}).digest == claim.digest
    assert (
        CLAIMS[6].model_copy(update={"against": CLAIMS[6].bound}).digest == CLAIMS[6].digest
    )  # what stands for it where nothing does
    others = (
        {"bound": 0.1},
        {"against": None},
        {"each": []},
        {"need": "any"},
        {"scope": "text"},
        {"arms": CLAIMS[7].arms},
        {"positive": True},
    )
    assert claim.digest not in {claim.model_copy(update=change).digest for change in others}


def revised_ledger(tmp_path, first, revised='revised = ["2026-11-22 20:32: another bound."]'):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5')
    path.write_text(f"{path.read_text()}{revised}\n{first}\n")
    return path


def test_both_rules_are_judged_on_the_same_table(tmp_path):
    path = revised_ledger(tmp_path, "[claim.first]\nbound = 0.9\nquantity = 'the first score'")
    with path.open("a") as file:
        file.write("[[claim]]\n" + SMALL.format(id=2, test='test = "above"\nbound = 0.5'))
    judged = judge_claims({"sweep": scores(0.7)}, path=path, draws=DRAWS)
    assert list(zip(judged["verdict"], judged["first_verdict"], strict=True)) == [
        ("replicated", "contradicted"),
        ("replicated", "replicated"),
    ]
    first, none = judged["first"]
    assert none is None
    assert first["ours"] == judged.loc[0, "ours"] and first["rule"].startswith(
        "The first score. Replicated where it lies above 0.9"
    )
    assert (verdict_counts(judged)["replicated"], verdict_counts(judged, "first_verdict")["replicated"]) == (2, 1)
    written, other = json.loads(write_claims(for_file(judged), "miniature", tmp_path).read_text())
    assert written["first_verdict"] == "contradicted" and other["first"] is None
    assert written["first"]["interval"] == pytest.approx(first["interval"], abs=1e-5)


def test_first_rules_are_corrected_among_first_rules(tmp_path):
    """Twenty rules that had no test at first do not make the first form of another stricter."""
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5', 20)
    head, *rest = path.read_text().split("[[claim]]\n")
    later = 'revised = ["2026-11-22 20:32: tested."]\n[claim.first]\nscope = "real weights"\n'
    path.write_text(
        head + "[[claim]]\n" + "".join(["[[claim]]\n".join([rest[0], *(f"{row}{later}" for row in rest[1:])])])
    )
    judged = judge_claims({"sweep": scores(0.515).query("task == 'detection'")}, path=path, draws=DRAWS)
    assert (judged.loc[0, "verdict"], judged.loc[0, "first_verdict"]) == ("undecided", "replicated")
    assert set(judged["first_verdict"][1:]) == {"not decidable at this scale"}


@pytest.mark.parametrize(
    ("first", "revised", "field"),
    [
        ("[claim.first]\nbound = 0.9", "", "'revised'"),
        ("", 'revised = ["2026-11-22 20:32: another bound."]', "'first'"),
        ("[claim.first]\nbound = 0.9", 'revised = ["2026-11-22: another bound."]', "'revised"),
        ("[claim.first]\nbound = 'low'", 'revised = ["2026-11-22 20:32: another bound."]', "'first.bound'"),
        ("[claim.first]\nbounds = 0.9", 'revised = ["2026-11-22 20:32: another bound."]', "'first.bounds'"),
        ("[claim.first]\nclaim = 'Others.'", 'revised = ["2026-11-22 20:32: another bound."]', "'first.claim'"),
        ("[claim.first]\narms = ['nobody']", 'revised = ["2026-11-22 20:32: another bound."]', "'first.arms'"),
        ("[claim.first]\nbound = 0.5", 'revised = ["2026-11-22 20:32: another bound."]', "'first'"),
    ],
)
def test_a_changed_rule_without_its_history_is_refused(first, revised, field, tmp_path):
    with pytest.raises(ValueError) as error:
        load_claims(revised_ledger(tmp_path, first, revised))
    assert f"claims.toml, claim 1, field {field}" in str(error.value) and "\n" not in str(error.value)


def test_ties_are_told_beside_the_share_that_counts_them_half(tmp_path, monkeypatch):
    """Claim 42: words that do no better than their anchors, and no worse, are no share of words that do better."""
    table = blank("trials", deltas=(0.5,))
    better = (table["delta"] == 0.5) & (table["anchor"] == table.groupby("dataset")["anchor"].transform("first"))
    row = alone(CLAIMS[42], tmp_path, monkeypatch)(table.assign(value=np.where(better, 0.9, 0.5)))
    strict = row["ours"] - row["ties"] / 2
    assert 0 < strict < 0.2 and row["ties"] == pytest.approx(1 - strict)
    assert f"; {strict:.0%} strictly, {row['ties']:.0%} tie)" in here_text(row)
    found = {"ours": 0.5, "interval": [0.4, None], "ties": 0.0}
    assert here_text(found, "COCO") == "0.50 (0.40 to …), COCO" and here_text(found | {"ours": None}) == "–"


def test_a_concepts_name_is_its_anchor():
    """Two words, such as "top hat", are one concept; the nearest word can only be a single one."""
    concept = next(
        concept for dataset in DATASETS for concept in concepts_of(dataset, "paper") if concept.anchor != concept.name
    )
    table = (
        blank("displacements", 1)
        .iloc[[0, 0]]
        .assign(dataset=concept.dataset, concept=concept.name, nearest=[concept.anchor, "?"])
    )
    assert prepare("displacements", table, "paper", KINDS)["names_concept"].tolist() == [True, False]


def test_four_successes_of_four_decide_nothing(tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.9')
    row = judge_claims({"sweep": blank("sweep", 2).assign(value=1.0)}, path=path).iloc[0]
    assert (row["verdict"], row["n"]) == ("undecided", 8)
    assert row["interval"][0] < 0.9


def test_an_undecided_claim_states_its_power(tmp_path):
    row = judge_claims(
        {"sweep": scores(0.5)}, path=small_ledger(tmp_path, 'test = "above"\nbound = 0.5'), draws=DRAWS
    ).iloc[0]
    assert f"With these {row['n']} trials a true value {row['detectable']:.2g} beyond the bound" in row["why"]
    assert 0 < row["detectable"] < 0.1


def test_the_more_claims_the_stricter(tmp_path):
    table = scores(0.515).query("task == 'detection'")
    alone, among = (
        judge_claims({"sweep": table}, path=small_ledger(tmp_path, 'test = "above"\nbound = 0.5', n), draws=DRAWS).iloc[
            0
        ]
        for n in (1, 20)
    )
    assert alone["p"] == among["p"] == alone["p_holm"]
    assert 0.05 / 20 < alone["p"] < 0.05
    assert (alone["verdict"], among["verdict"]) == ("replicated", "undecided")
    assert among["p_holm"] == pytest.approx(min(1, 20 * among["p"]))
    assert "not among so many claims" in among["why"]


def test_an_incomplete_study_names_what_it_lacks(tmp_path, monkeypatch):
    judge = alone(CLAIMS[33], tmp_path, monkeypatch)
    table = made(CLAIMS[33], True)
    row = judge(table[table["dataset"] != "PASCAL"])
    assert row["verdict"] == "undecided"
    assert "has no rows for 'one' (evaluated_on generation, role own, delta 1.0) with dataset PASCAL" in row["why"]
    assert judge(table[table["evaluated_on"] != "detection"])["verdict"] == "undecided"


def test_the_papers_own_profile_decides_about_real_weights(monkeypatch):
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [CLAIMS[55]])
    days = pd.DataFrame({"days": [2.5]})
    judged = [
        judge_claims({"timing": table}, profile)["verdict"].item()
        for table, profile in ((days, "paper"), (days * 2, "paper"), (days, "smoke"))
    ]
    assert judged == ["replicated", "contradicted", "not decidable at this scale"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('test = "above"', 'test = "abvoe"'), "claims.toml, claim 1, field 'test': input should be 'above', 'below'"),
        (("bound = 0.5", ""), "claims.toml, claim 1, field 'test': 'above' needs a bound."),
        (("bound = 0.5", 'bound = "half"'), "claims.toml, claim 1, field 'bound': "),
        (('place = "section 1"', ""), "claims.toml, claim 1, field 'place': field required."),
        (('place = "section 1"', 'place = "section 1"\nplaice = "section 1"'), "claim 1, field 'plaice': "),
        (('scope = "miniature"', 'scope = "moon"'), "claim 1, field 'scope': input should be 'miniature'"),
        (('value = "words"', 'value = "word"'), "claim 1, field 'value': 'word' names 'word'"),
        (('value = "words"', 'value = "words +"'), "claim 1, field 'value': 'words +'"),
        (('value = "words"', 'value = "words.mean()"'), "field 'value': 'words.mean()'"),
        (('value = "words"', 'value = "words"\neach = ["sneed"]'), "claim 1, field 'each.0'"),
        (("arms = { words = { ", 'arms = ["nobody"] # { { '), "claim 1, field 'arms': 'nobody'"),
        (('stage = "last"', 'stage = "later"'), "claim 1, field 'arms.words.stage': input should be 'first', 'half'"),
        (("id = 1\n", ""), "claims.toml, the 1. claim, field 'id': field required."),
        (("id = 1\n", "id = = 1\n"), "claims.toml is not readable as TOML: "),
    ],
)
def test_a_malformed_ledger_is_refused_in_one_sentence(change, names, tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5')
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError) as error:
        load_claims(path)
    assert names in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('table = "sweep"', 'table = "sweeps"'), "Claim 1: 'sweeps'"),
        (('value = "words"', 'value = "words"\nmeasure = "valeu"'), "'sweep' has no column 'valeu'"),
        (('task = "detection"', 'trained_on = "detection"'), "'sweep' has no column 'trained_on'"),
    ],
)
def test_a_claim_that_asks_for_what_tables_do_not_have_is_refused(change, names, tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5')
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=names):
        judge_claims({}, path=path)


def test_a_claim_may_stand_once_only(tmp_path):
    path = write_ledger(tmp_path / "claims.toml", *[SMALL.format(id=1, test='test = "above"\nbound = 0.5')] * 2)
    with pytest.raises(ValueError, match="claim 1, field 'id'"):
        load_claims(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"claims\.toml holds no claim\."):
        load_claims(path)


def test_tables_are_checked():
    with pytest.raises(ValueError, match="'trails' is no table of the ledger; there are trials, "):
        judge_claims({"trails": pd.DataFrame()})
    with pytest.raises(ValueError, match=r"The table 'timing' has no column 'days'; it needs days\."):
        judge_claims({"timing": pd.DataFrame({"hours": [1]})})
    with pytest.raises(ValueError, match="The table 'sweep' has values of 'value' outside 0 to 1"):
        judge_claims({"sweep": blank("sweep", 1).assign(value=1.2)})


def test_failed_words_are_left_out(tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5')
    table = scores(0.7)
    table.loc[table["concept"] == "dog", "value"] = np.nan
    row = judge_claims({"sweep": table}, path=path, draws=DRAWS).iloc[0]
    assert (row["verdict"], row["n"]) == ("replicated", 351)


def test_stages_are_the_first_half_and_last_layer():
    ready = prepare("truncation", blank("truncation", 1), "miniature", KINDS)
    assert ready.groupby("stage")["blocks"].unique().map(list).to_dict() == {
        "half": [2],
        "last": [6],
        "other": [0, 1, 4],
    }
    assert prepare("clusters", blank("clusters"), "miniature", KINDS).query("stage == 'first'")["layer"].unique() == [1]
    assert prepare("sweep", blank("sweep"), "miniature", KINDS).query("stage == 'before'")["steps"].unique() == [100]


def test_verdicts_are_written_as_plain_numbers(tmp_path, unjudged):
    path = write_claims(for_file(unjudged), "miniature", tmp_path)
    rows = json.loads(path.read_text())
    assert [row["verdict"] for row in rows] == unjudged["verdict"].tolist() and rows[0]["ours"] is None
    assert rows[22]["ours"] == pytest.approx(unjudged.loc[23, "ours"], rel=1e-5)
    assert {"rule", "test", "why", "p_holm"} <= set(rows[0])
    assert [file.name for file in path.parent.iterdir()] == ["claims.json"]


def test_verdicts_that_cannot_be_written_leave_the_old_ones(tmp_path):
    judged = judge_claims({}, path=small_ledger(tmp_path, 'test = "above"\nbound = 0.5'))
    path = write_claims(judged, "miniature", tmp_path)
    before = path.read_text()
    with pytest.raises(TypeError):
        write_claims(judged.assign(note=[object()]), "miniature", tmp_path)
    assert path.read_text() == before
    with pytest.raises(OSError):
        write_claims(judged, "miniature", path)  # a file where the folder should be


def test_verdicts_are_counted_in_their_order(unjudged):
    counts = verdict_counts(unjudged)
    assert (list(counts.index), counts.to_list()) == (list(VERDICTS), [1, 1, 47, 8])
