"""The cost of a study: words × steps × measured seconds."""

import json

import pandas as pd
import pytest

from vwlib.concepts import TASKS
from vwlib.settings import load_profile
from vwlib.study import progress as cost
from vwlib.study.plan import make_plan
from vwlib.study.progress import (
    COLUMNS,
    Rates,
    cost_table,
    measured_rates,
    rates_of_benchmark,
    rates_of_full_size,
    rates_of_log,
)
from vwlib.tools.cli import app

PAPER = load_profile("paper")
RATES = Rates(dict.fromkeys(TASKS, 0.5), dict.fromkeys(TASKS, 2.0), "made up")


def notes(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def full_size() -> dict:
    return {model: {"seconds": {"3 steps": 6.0, "evaluate": 8.0}} for model in ("generator", "detector", "classifier")}


@pytest.fixture(autouse=True)
def nothing_measured(tmp_path, monkeypatch):
    """Files of measurements where the test may write them."""
    monkeypatch.setattr(cost, "BENCHMARK", tmp_path / "results.json")
    monkeypatch.setattr(cost, "FULL_SIZE", tmp_path / "full_size.json")


def test_a_run_log_gives_medians_and_what_was_only_scored_teaches_nothing():
    rows = [
        (f"{task}-{number}", "words", task, 10, 100, seconds, 20.0)
        for task in TASKS
        for number, seconds in enumerate((50.0, 100.0, 900.0))
    ]
    rows += [
        ("again", "words", "detection", 10, 100, 0.0, 20.0),
        ("floor", "references", "detection", 10, 100, 0.0, 7.0),
    ]
    rates = rates_of_log(notes(*rows))
    assert rates.step == dict.fromkeys(TASKS, 0.1) and rates.scoring == dict.fromkeys(TASKS, 2.0)
    assert rates_of_log(notes(*rows[:3])) is None


def test_the_cost_is_words_times_steps_times_seconds():
    plan = make_plan(PAPER)
    table = cost_table(plan, PAPER, RATES, speed=10, processes=4)
    assert table["words"].sum() == 6000 and table["hours"].sum() == pytest.approx(6000 * 502 / 3600 / 40)
    with pytest.raises(ValueError, match="above 0"):
        cost_table(plan, PAPER, RATES, speed=0)


def test_the_benchmark_is_read_at_its_most_words(tmp_path):
    record = {"steps_per_second": 2.0, "scoring_seconds": 1.5}
    records = [record | {"task": task, "words": words} for task in TASKS for words in (100, 1)]
    cost.BENCHMARK.write_text(json.dumps(records))
    rates = rates_of_benchmark(cost.BENCHMARK)
    assert rates.step == dict.fromkeys(TASKS, 0.005) and rates.scoring == dict.fromkeys(TASKS, 4.5)


def test_the_models_at_full_size_are_scaled_to_batch_pictures_and_denoising_steps():
    cost.FULL_SIZE.write_text(json.dumps(full_size()))
    rates = rates_of_full_size(PAPER, cost.FULL_SIZE)
    assert rates.step == {"generation": 16.0, "detection": 2.0, "classification": 2.0}
    assert rates.scoring["detection"] == 4.0 * 4 * 50 / 2 + 4.0 + 4.0


@pytest.mark.parametrize("profile,command", [("paper", "make test-full"), ("smoke", "make bench")])
def test_without_a_measurement_the_command_that_measures_is_named(profile, command):
    with pytest.raises(ValueError, match=f"Nothing was measured yet: run `{command}`"):
        measured_rates(load_profile(profile), notes())


def test_the_command_says_what_the_paper_would_take_without_its_weights(tmp_path, capsys):
    cost.FULL_SIZE.write_text(json.dumps(full_size()))
    app(
        ["study", "--profile", "paper", "--store", str(tmp_path), "--estimate", "100", "--workers", "8"],
        standalone_mode=False,
    )
    said = capsys.readouterr().out
    assert "hours for 6,000 words" in said and "speed 100, 8 at a time" in said


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ValueError, match="speed"):
        cost_table(make_plan(PAPER), PAPER, RATES, speed)
