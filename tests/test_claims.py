"""The ledger: all 57 claims load, each can come out either way, too little decides nothing, and the file says what was
found.
"""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest

from vwlib.book.pages.ledger import in_words
from vwlib.concepts import DATASETS, FRESH, TASKS, concepts_of
from vwlib.experiments.running import SCHEMAS
from vwlib.ledger import judge as ledger
from vwlib.ledger.claims import CLAIMS as LEDGER
from vwlib.ledger.claims import Check, Question, load_checks, load_claims, load_settings
from vwlib.ledger.estimate import evaluate
from vwlib.ledger.judge import claim_cases
from vwlib.ledger.judgements import ClaimCase, Judgement, correct
from vwlib.ledger.summary import is_diagonal
from vwlib.ledger.tables import OTHERS, prepare
from vwlib.ledger.verdicts import DEFINITION, VERDICTS, verdict_counts, verdict_words, write_claims
from vwlib.miniature.quality import CRITERIA

KINDS = {**OTHERS, **SCHEMAS}
CLAIMS = {claim.id: claim for claim in load_claims()}
DELTAS = (np.nan, 0.1, 0.2, 0.5, 1.0)
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
        more = crossed(size, trained_on=["anchor", "name"], evaluated_on=TASKS, delta=[np.nan], value=[0.5])
        carried = crossed(size, trained_on=TASKS, evaluated_on=TASKS, delta=[np.nan], value=[0.5], role=["carried"])
        carried = carried[carried["trained_on"] != carried["evaluated_on"]]
        return pd.concat([words, more, carried], ignore_index=True)
    if name == "ceilings":
        table = crossed(size, source=TASKS, target=TASKS, value=[0.5], own=[0.5])
        return table[table["source"] != table["target"]].drop(columns="anchor").drop_duplicates(ignore_index=True)
    if name == "displacements":
        return crossed(size, task=TASKS, delta=DELTAS, distance=[0.4], nearest=["?"], is_anchor=[True])
    if name == "mapped_displacements":
        return crossed(size, trained_on=TASKS, evaluated_on=TASKS, delta=[np.nan, 0.5], is_anchor=[True])
    if name == "maps":
        return pd.DataFrame(
            [(f"w{i}", s, t, 0.5) for i in range(2 * size - 1) for s in TASKS for t in TASKS],
            columns=["word", "source", "target", "top1"],
        )
    if name == "clusters":
        columns = ["dataset", "task", "kind", "delta", "layer", "by", "ari", "low", "high"]
        return pd.DataFrame(
            [
                (d, t, "learned", 0.5, layer, "concept - anchor", 0.0, -0.05, 0.05)
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
            [(task, f"c{i}", kind, 0.5, 0.5, 1.0) for task, i, kind in rows],
            columns=["task", "concept", "kind", "residual", "best", "value"],
        )
    measured = {
        column: [0.5]
        for column in KINDS[name].columns
        if column not in ("dataset", "concept", "anchor", "delta", "task", "kind", "trained_on", "evaluated_on")
    }
    task = {column: TASKS for column in ("task", "trained_on", "evaluated_on") if column in KINDS[name].columns}
    table = crossed(size, **task, **words, delta=[np.nan, 0.5], **measured)
    if KINDS[name].pairs:
        following = dict(itertools.pairwise([*table["anchor"].unique(), table["anchor"].iloc[0]]))
        table["anchor"] += " and " + table["anchor"].map(following)
    return table


def means_for(claim, holds):
    """Means of the arms with which a claim is as plainly true, or false, as can be, in every case."""
    rng = np.random.default_rng(0)
    lowest = {"ari": -0.9}.get(claim.measure, 0.03)
    divisors = ("own", "name", "GG", "DD", "CC", "G", "D", "C")  # what is divided by is not small
    levels = {name: np.linspace(0.4 if name in divisors else lowest, 0.97, 11) for name in claim.arms}
    means = {name: rng.choice(level, 20000) for name, level in levels.items()}
    values = np.array([evaluate(expression, means) for expression in claim.value.values()])
    bound = 0.0 if claim.share else claim.bound
    if claim.test == "equivalent":
        slack = (claim.margin - abs(values)) * (1 if holds else -1)
    else:
        slack = (values - bound) * (1 if (claim.test == "above") == holds else -1)
    best = slack.min(axis=0).argmax()
    assert slack[:, best].min() > 0.04, f"claim {claim.id} cannot come out {holds}"
    return {name: mean[best] for name, mean in means.items()}


def set_measure(claim, arm, table, rows, mean, rng):
    """Give rows of a table a mean of an arm's measure, by changing what it is derived from."""
    own, chance = claim.measure_of(arm), rng.random(len(rows)) < mean
    if own == "names_concept":
        names = {concept.name: concept.anchor for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
        table.loc[rows, "nearest"] = np.where(chance, table.loc[rows, "concept"].map(names), "?")
    elif own == "never":
        table.loc[rows, "crossing"] = np.where(chance, np.nan, 3.0)
    elif own == "crossing_share":
        table.loc[rows, "crossing"] = np.rint(mean * 6)
    elif own in ("is_anchor", "kept", "found", "named", "agrees"):
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
        for case in claim.cases or ledger._cases(claim.each, "miniature"):
            set_measure(claim, name, table, claim.arms[name].choose(ready, case).index, mean, rng)
    return table


def alone(claim, tmp_path, monkeypatch):
    """Judge with one claim of the ledger only, whatever it presupposes."""
    chosen = claim.model_copy(update={"checks": []})
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [chosen])

    def judge(table):
        name = claim.table.replace("grid_effects", "trials")
        if claim.data == "fresh":
            name, table = name.replace("trials", "fresh"), as_fresh(table)
        return judge_claims({name: table}).iloc[0]

    return judge


def as_fresh(table):
    """Three times the forty concepts, under other names and off the diagonal, as 12 groups of fresh ones."""
    off = table[~is_diagonal(table, "miniature")] if "anchor" in table else table
    groups = dict(zip(FRESH, itertools.product(DATASETS, range(3)), strict=True))
    parts = [(off[off["dataset"] == of], name, copy) for name, (of, copy) in groups.items()]
    return pd.concat([part.assign(dataset=name, concept=part["concept"] + f" {copy}") for part, name, copy in parts])


def write_ledger(path, *claims):
    """A small ledger file of TOML lines."""
    settings = re.search(r"^\[settings\]\n.*?(?=^\[checks)", LEDGER.read_text(), re.M | re.S)
    path.write_text("\n".join([settings.group(), *("[[claim]]\n" + claim for claim in claims)]))
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
    assert [number in unjudged.loc[5, "rule"] for number in ("below -0.1 ", "p < 0.05")] == [True] * 2
    assert all(unjudged["rule"].str.endswith(".")) and all(unjudged["test"])


def test_the_settings_hold_for_every_outcome():
    """The question is answered whatever the verdicts on claims 5 and 7 are, the premise has every task."""
    settings = load_settings()
    found = {(a, b): settings.answer({7: a, 5: b}) for a, b in itertools.product(VERDICTS, repeat=2)}
    assert found["fails", "fails"] == "yes" and found["holds", "holds"] == "no"
    assert found["fails", "unclear"] == "at least in part" and found["unclear", "holds"] == "undecided"
    assert (set(settings.premise), settings.level, settings.alike, settings.solves) == (set(TASKS), 0.05, 0.1, 0.5)


def test_a_page_takes_a_claims_numbers_from_the_ledger(tmp_path):
    """One estimate for text and ledger, with the means of its arms on the cells that they share."""
    table = made(CLAIMS[25], True)
    rows = judge_claims({"offsets": table}).set_index("id")
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
    missing = "The table 'fresh' is missing (scores of words for fresh concepts); `vwlib study` makes it."
    assert judged.loc[1, "why"] == missing
    assert (judged.loc[23, "verdict"], judged.loc[52, "verdict"]) == ("fails", DEFINITION)
    rest = judged.drop([23, 32, 52])
    assert set(rest["verdict"]) == {"undecidable"}
    assert rest["why"].str.len().min() > 20


def test_the_papers_numbers_come_from_its_figures(unjudged):
    judged = unjudged
    assert judged.loc[42, "paper"] == "pictures only" and judged.loc[5, "paper"] == "-0.79 to -0.39"
    assert judged.loc[15, "paper"] == "text: 28 %; figures: 0.27"
    assert judged.loc[23, "ours"] == pytest.approx(0.159 / 0.801)
    assert "Text and figure disagree" in judged.loc[23, "note"]
    assert judged.loc[27, "paper"] == judged.loc[26, "paper"] == "no number"  # the figures do not tell the diagonal


TESTED = [
    c
    for c in CLAIMS.values()
    if c.scope != "real weights"
    and c.test not in ("number", "equals", "definition")
    and c.table not in ("paper", "grid_effects")
]


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: f"claim {claim.id}")
def test_a_claim_can_hold_and_fail_and_few_words_decide_nothing(claim, tmp_path, monkeypatch):
    judge = alone(claim, tmp_path, monkeypatch)
    true, false, little = judge(made(claim, True)), judge(made(claim, False)), judge(made(claim, True, size=1))
    assert [true["verdict"], false["verdict"]] == ["holds", "fails"], (true["why"], false["why"])
    assert little["verdict"] in ("unclear", "undecidable"), little["why"]
    assert true["p"] < 0.05
    assert true["interval"][0] <= true["ours"] <= true["interval"][1]
    assert little["why"]


@pytest.mark.parametrize(("share", "size", "verdict"), [(1.0, 10, "holds"), (0.7, 10, "fails"), (1.0, 1, "unclear")])
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
    assert verdict == "fails" if spread else verdict != "fails"


def test_a_definition_has_its_number_and_no_verdict(tmp_path, monkeypatch):
    judge = alone(CLAIMS[32], tmp_path, monkeypatch)
    table = blank("displacements")
    row = judge(table)
    assert (row["verdict"], row["ours"]) == (DEFINITION, 1.0) and verdict_words(DEFINITION).startswith("no verdict")
    assert verdict_counts(pd.DataFrame([row])).sum() == 0
    row = judge(table[table["delta"] != 0.1])
    assert row["cases"][0]["missing"] == "The table 'displacements' has no rows for 'tenth' (delta 0.1)."


def test_a_changed_table_changes_the_verdict(tmp_path):
    path = small_ledger(tmp_path, 'test = "above"\nbound = 0.5')
    verdicts = [judge_claims({"sweep": scores(mean)}, path=path)["verdict"].item() for mean in (0.7, 0.5, 0.3)]
    assert verdicts == ["holds", "unclear", "fails"]


def test_cases_are_counted_once():
    cases = [ClaimCase("a", p_for=0.001), ClaimCase("b", p_for=0.001), ClaimCase("c", p_against=0.001)]
    found = Judgement(CLAIMS[5], "", cases)
    assert found.singly == {"for": 2, "against": 1}


def geometry(**numbers):
    """The geometry of three good word tables, but for some numbers."""
    good = {"nearest": 1.1, "participation_ratio": 80, "dimension": 192, "words": 1000, "flip_share": 0.4}
    rows = [(task, kind, value) for task in TASKS for kind, value in (good | numbers).items()]
    return pd.DataFrame(rows, columns=["task", "kind", "value"])


@pytest.mark.parametrize(
    ("numbers", "failed"),
    [
        ({}, ""),
        ({"nearest": 0.7}, "norm is 0.70"),
        ({"participation_ratio": 50}, "ratio as a share of the dimensions is 0.26"),
        ({"dimension": 150, "participation_ratio": 55}, "the participation ratio is 55.00"),
    ],
)
def test_a_claim_is_asked_only_where_its_check_is_passed(numbers, failed, monkeypatch):
    chosen = CLAIMS[33]
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [chosen])
    row = judge_claims({"trials": made(chosen, True), "geometry": geometry(**numbers)}).iloc[0]
    assert (row["verdict"], row["reason"]) == (("undecidable", "check") if failed else ("holds", "passed"))
    assert failed in row["why"] and (not failed or row["cases"] == [])
    assert row["checked"] == pytest.approx(float(re.findall(r"[\d.]+\d", failed)[-1]) if failed else 1.1, abs=0.005)


def test_without_a_check_s_table_a_claim_cannot_be_asked(monkeypatch):
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [CLAIMS[33]])
    monkeypatch.setattr(ledger, "geometry_table", lambda: None)
    row = judge_claims({"trials": made(CLAIMS[33], True)}).iloc[0]
    assert (row["verdict"], row["reason"]) == ("undecidable", "missing") and "`make quality`" in row["why"]


def test_a_check_asks_only_the_tasks_that_the_claim_is_about(monkeypatch):
    """Claim 40 is about pictures: that detection words do nothing near their anchors is no matter."""
    chosen, table = CLAIMS[40], blank("trials", deltas=(np.nan, 0.5))
    own = (table["trained_on"] == table["evaluated_on"]) & (table["delta"] == 0.5)
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [chosen])
    for task, reason in (("detection", "passed"), ("generation", "check")):
        weak = table.assign(value=np.where(own & (table["evaluated_on"] == task), 0.1, table["value"]))
        assert judge_claims({"likeness": made(chosen, True), "trials": weak})["reason"].item() == reason


def test_no_check_asks_what_its_claim_asks():
    checks = load_checks()
    for claim in CLAIMS.values():
        for name in claim.checks:
            arms = [arm.model_dump(exclude_defaults=True) for arm in checks[name].arms.values()]
            own = [arm.model_dump(exclude_defaults=True) for arm in claim.arms.values()]
            assert checks[name].table != claim.table or arms != own, (claim.id, name)
    with pytest.raises(ValueError):
        Check(sentence="", table="trials", arms={}, at_least=[{"value": "a"}])


def test_fresh_concepts_decide_where_a_claim_says_so(monkeypatch):
    chosen = CLAIMS[1]
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [chosen])
    forty = made(chosen, False)
    fresh = as_fresh(made(chosen, True))
    row = judge_claims({"trials": forty, "fresh": fresh}).iloc[0]
    assert (row["verdict"], row["data"]) == ("holds", "fresh")
    assert judge_claims({"trials": forty, "fresh": fresh}, "paper")["verdict"].item() == "fails"  # it has none
    row = judge_claims({"trials": forty, "fresh": fresh[fresh["dataset"] != list(FRESH)[3]]}).iloc[0]
    assert row["verdict"] == "undecidable" and list(FRESH)[3] in row["why"]


def test_the_floor_of_mapped_words_is_their_anchor_words_mapped():
    """The table `carried_anchors` comes to the trials; without it the claim is not decidable."""
    words = blank("trials", size=4).query("role != 'carried'").drop(columns="role")
    carried = crossed(4, source=TASKS, target=TASKS, value=[0.45]).query("source != target")
    tables = {"trials": words, "carried_anchors": carried}
    found = claim_cases(7, tables, SCHEMAS, "miniature", data="forty")
    assert len(found) == 6 and all(one.value == pytest.approx(0.05) for one in found.values())
    assert claim_cases(7, {"trials": words}, SCHEMAS, "miniature", data="forty") == {}


def judged_alone(number, p, favours="holds"):
    """A judgement of a claim with a p value."""
    return Judgement(CLAIMS[number], "", p=p, favours=favours)


def test_the_primary_questions_are_corrected_together_and_the_others_by_section():
    primary = [Question(question="?", claims=claims) for claims in ([1, 2], [5], [30])]
    found = {n: judged_alone(n, p) for n, p in {1: 0.001, 2: 0.01, 5: 0.02, 6: 0.03, 9: 0.04, 25: 0.04}.items()}
    correct(list(found.values()), primary)
    # Claim 30 has no p value and counts as a question all the same.
    assert [found[n].p_adjusted for n in (1, 2, 5)] == pytest.approx([0.003, 0.03, 0.04])
    assert [found[n].p_adjusted for n in (6, 9, 25)] == pytest.approx([0.04, 0.04, 0.04])  # section 4, and section 1
    assert {one.verdict for one in found.values()} == {"holds"}
    worse = [judged_alone(5, 0.03), judged_alone(6, 0.04), judged_alone(9, 0.9), judged_alone(25, 0.06)]
    correct(worse, primary)
    assert [one.verdict for one in worse] == ["unclear"] * 4
    assert [one.reason for one in worse] == ["alone", "alone", "interval", "interval"]


def test_every_claim_that_is_not_primary_has_a_section():
    asked = [number for question in load_settings().primary for number in question.claims]
    assert sorted(asked) == [1, 2, 3, 5, 30, 43] and len(load_settings().primary) == 4
    assert all(claim.section for claim in CLAIMS.values())


@pytest.mark.parametrize("verdict", [*VERDICTS, DEFINITION])
def test_there_is_one_vocabulary(verdict):
    here, run = verdict_words(verdict), verdict_words(verdict, "smoke")
    assert ("miniature" in here) == ("in this run" in run) == (verdict in VERDICTS[:2])
    assert "miniature" not in run + verdict_words(verdict, "miniature", "text")


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
    assert (row["verdict"], row["n"]) == ("unclear", 8)
    assert row["interval"][0] < 0.9


def test_an_unclear_claim_states_its_power(tmp_path):
    row = judge_claims({"sweep": scores(0.5)}, path=small_ledger(tmp_path, 'test = "above"\nbound = 0.5')).iloc[0]
    assert f"With these {row['n']} trials a true value {row['detectable']:.2g} beyond the bound" in row["why"]
    assert 0 < row["detectable"] < 0.1


def test_an_incomplete_study_names_what_it_lacks(tmp_path, monkeypatch):
    judge = alone(CLAIMS[33], tmp_path, monkeypatch)
    table = made(CLAIMS[33], True)
    row = judge(table[table["dataset"] != "PASCAL"])
    assert row["verdict"] == "undecidable"
    assert "has no rows for 'one' (evaluated_on generation, role own, delta 1.0) with dataset PASCAL" in row["why"]
    assert judge(table[table["evaluated_on"] != "detection"])["verdict"] == "undecidable"


def test_the_papers_own_profile_decides_about_real_weights(monkeypatch):
    monkeypatch.setattr(ledger, "load_claims", lambda path=None: [CLAIMS[55]])
    days = pd.DataFrame({"days": [2.5]})
    judged = [
        judge_claims({"timing": table}, profile)["verdict"].item()
        for table, profile in ((days, "paper"), (days * 2, "paper"), (days, "smoke"))
    ]
    assert judged == ["holds", "fails", "undecidable"]


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
    row = judge_claims({"sweep": table}, path=path).iloc[0]
    assert (row["verdict"], row["n"]) == ("holds", 351)


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
    path = write_claims(unjudged, "miniature", tmp_path)
    rows = json.loads(path.read_text())
    assert [row["verdict"] for row in rows] == unjudged["verdict"].tolist() and rows[0]["ours"] is None
    assert rows[22]["ours"] == pytest.approx(unjudged.loc[23, "ours"], rel=1e-5)
    assert {"rule", "test", "why", "p_adjusted", "edition_verdict"} <= set(rows[0])
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
    assert (list(counts.index), counts.to_list()) == (list(VERDICTS), [0, 1, 0, 54])


def test_checks_of_the_tables_ask_for_what_the_models_criteria_do():
    bars, checks = CRITERIA["table"], load_checks()
    asked = [demand.bound for name in ("geometry", "depth") for demand in checks[name].at_least]
    assert asked == [bars[name] for name in ("nearest", "directions_per_dimension", "directions", "flip_share")]
