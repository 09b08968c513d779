"""Deviations from the paper: data whose numbers come from the profile."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vwlib.experiments.running import EXPERIMENTS
from vwlib.ledger.deviations import deviations_table, fill_in, load_deviations
from vwlib.settings import load_profile

GOOD = (
    '[[deviation]]\nwhat = "seeds"\npaper = "not stated"\nhere = "one"\nwhy = "Because."\n'
    'holds = "everywhere"\nsee = "03_learning_a_word"\n'
)


@pytest.mark.parametrize("profile", ["smoke", "miniature", "paper"])
def test_every_deviation_is_filled_in_at_every_profile(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(word_table=lambda: np.zeros((1, 8)))
    monkeypatch.setattr("vwlib.ledger.deviations.load_model", lambda *_: model)
    tables = [deviations_table(load_profile(profile), holds) for holds in ("everywhere", "models")]
    assert all(len(table) > 3 for table in tables)
    assert not any(table.map(lambda cell: "{" in cell or not cell).any(axis=None) for table in tables)


def test_numbers_follow_the_profile() -> None:
    assert fill_in("{profile.test_images}, {steps}", load_profile("miniature", test_images=7)) == "7, 100, 100, 100"
    assert (
        fill_in("{generation_blocks} blocks of {generation}", load_profile("paper"))
        == "23 blocks of Stable Diffusion 2.1"
    )


def test_each_deviation_is_told_once_and_those_of_the_other_models_are_left_out() -> None:
    names = [deviation.what for deviation in load_deviations()]
    assert len(set(names)) == len(names)
    assert "safety checker" not in set(deviations_table(load_profile("paper"), "models")["what"])


def test_experiments_that_the_papers_models_leave_out_are_told() -> None:
    told = next(deviation.here for deviation in load_deviations() if deviation.what == "experiments beside the study")
    paper, miniature = load_profile("paper"), load_profile("miniature")
    left_out = {
        name for name, experiment in EXPERIMENTS.items() if experiment.cases(miniature) and not experiment.cases(paper)
    }
    kinds = [{case["nouns"] for case in EXPERIMENTS["frequency"].cases(profile)} for profile in (paper, miniature)]
    assert left_out | {"frequency"} == set(EXPERIMENTS).intersection(re.findall(r"\w+", told)) and kinds[1] - kinds[
        0
    ] == {"rarer"}


def test_a_page_is_called_as_in_the_text() -> None:
    table = deviations_table(load_profile("paper"), "everywhere").set_index("what")["more in"]
    assert (table["verdicts"], table["words learned at once"], table["guidance when generating"]) == (
        "chapter 7",
        "running at scale",
        "hyperparameters",
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ('holds = "everywhere"', 'holds = "sometimes"'),
            "deviations.toml, deviation 1 (seeds), field 'holds': input should be 'everywhere', 'miniature'",
        ),
        (('why = "Because."\n', ""), "deviations.toml, deviation 1 (seeds), field 'why': field required."),
        (
            ("03_learning_a_word", "03_learning"),
            "deviations.toml, deviation 1 (seeds): there is no page '03_learning'.",
        ),
    ],
)
def test_a_wrong_entry_is_named(change: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "deviations.toml").write_text(GOOD.replace(*change))
    with pytest.raises(ValueError) as error:
        load_deviations(tmp_path / "deviations.toml")
    assert str(error.value).startswith(sentence)


def test_an_unknown_name_in_braces_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^'\{sixteen\}' asks for 'sixteen', which is not known"):
        fill_in("{sixteen}", load_profile("smoke"))
