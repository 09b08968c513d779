"""The experiments' tables: whole or not at all, resumed, named when damaged or stale, and what the ledger asks for."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from vwlib.experiments import EXPERIMENTS, Tables, choose, read_table, read_tables, run, solutions, status, uses
from vwlib.experiments.base import lighter
from vwlib.experiments.registry import SCHEMAS
from vwlib.ledger.judge import judge_claims
from vwlib.settings import ExperimentSettings, load_profile
from vwlib.study.run import run_study
from vwlib.tools.cli import app

PROFILE = load_profile("smoke")
QUICK = ["maps", "vocabulary", "offsets"]


def contents(root: Path) -> dict[str, str]:
    """Checksums of the published files, the run log aside."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (root / "results").rglob("*")
        if p.is_file() and p.name != "runs.jsonl"
    }


def states(root: Path, names: list[str]) -> dict[str, str]:
    """What `status` says of tables."""
    return status(PROFILE, choose(EXPERIMENTS, names), root).set_index("table")["state"].to_dict()


#: Which fields of `ExperimentSettings` each experiment read while the store was filled.
READ: dict[str, set[str]] = {}


@contextmanager
def read_fields() -> Iterator[set[str]]:
    """The fields of `ExperimentSettings` that are read within the block."""
    found: set[str] = set()

    def look_up(settings: ExperimentSettings, name: str) -> object:
        if name in ExperimentSettings.model_fields:
            found.add(name)
        return object.__getattribute__(settings, name)

    lighter.cache_clear()  # what it has read for another experiment, it would not read again
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExperimentSettings, "__getattribute__", look_up, raising=False)
        yield found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A store with a finished study and all experiments."""
    root = tmp_path_factory.mktemp("store")
    run_study(PROFILE, root, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        # Smoke's words do not learn enough to solve anything, and there would be nothing to go between.
        patch.setattr(solutions, "solutions_of", lambda task, dataset, sources: sources.grid(task, dataset, own=True))
        for experiment in EXPERIMENTS.values():
            with read_fields() as READ[experiment.name]:
                run(PROFILE, [experiment], root, progress=False)
    return root


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A copy of the full store, to be damaged."""
    return shutil.copytree(whole, tmp_path / "store")


def test_every_table_has_the_columns_that_the_ledger_asks_for(whole):
    for name in EXPERIMENTS:
        table = read_table(name, "smoke", whole)
        assert len(table) or name == "likeness", name  # in a 2 x 2 grid no concept has two unrelated anchors
        assert set(SCHEMAS[name].columns if name in SCHEMAS else ()) <= set(table), name


def test_each_kind_of_table_has_a_maker():
    made = set(SCHEMAS)
    assert made <= set(EXPERIMENTS)


def test_the_ledger_is_judged_on_all_tables(whole):
    judged = judge_claims(read_tables("smoke", whole), SCHEMAS, "smoke", draws=50)
    assert len(judged) == 57
    assert not judged["why"].str.contains("is missing").any()


def test_an_altered_table_judges_nothing(copy):
    folder = copy / "results" / "smoke"
    for name in ("clusters", "trials"):
        content = bytearray((folder / f"{name}.parquet").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / f"{name}.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.parquet is damaged or was altered"):
            read_tables("smoke", copy)
        content[len(content) // 2] ^= 1
        (folder / f"{name}.parquet").write_bytes(content)
    (folder / "something.parquet").write_bytes(b"no table of the ledger")
    assert "something" not in read_tables("smoke", copy)


def test_two_processes_lose_no_record(copy):
    """What another process writes down while this one waits is kept."""
    tables, folder = Tables(PROFILE, copy), copy / "results" / "smoke"
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(tables.publish, EXPERIMENTS["vocabulary"], [read_table("vocabulary", "smoke", copy)])
        with pytest.raises(TimeoutError):
            publishing.result(timeout=0.3)
        records = json.loads((folder / "experiments.json").read_text())
        (folder / "experiments.json").write_text(json.dumps(records | {"another": {}}))
        os.close(handle)
        publishing.result(timeout=60)
    assert {"another", "vocabulary"} <= set(json.loads((folder / "experiments.json").read_text()))


def test_killed_in_the_middle_the_rerun_ends_with_the_same_bytes(whole, tmp_path):
    root = shutil.copytree(whole, tmp_path / "store")
    shutil.rmtree(root / "chunks" / "smoke" / "experiments")
    for path in (root / "results" / "smoke").glob("*displacements.parquet"):
        path.unlink()
    command = [
        sys.executable,
        "-c",
        "from vwlib.tools.cli import app; app()",
        "experiments",
        "mapped_displacements",
        "--profile",
        "smoke",
        "--store",
        str(root),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list(root.rglob("experiments/mapped_displacements/*/*.parquet"))) < 2 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in root.rglob("experiments/mapped_displacements/*/*.parquet")}
    assert 2 <= len(kept) < 6 and states(root, ["mapped_displacements"]) == {"mapped_displacements": "missing"}
    run(PROFILE, choose(EXPERIMENTS, ["displacements", "mapped_displacements"]), root, progress=False)
    assert contents(root) == contents(whole)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())  # nothing finished was repeated


def test_stored_tables_are_not_computed_again(copy):
    shutil.rmtree(copy / "chunks" / "smoke" / "experiments")
    before = contents(copy)
    run(PROFILE, choose(EXPERIMENTS, QUICK), copy, progress=False)
    assert contents(copy) == before and not (copy / "chunks" / "smoke" / "experiments").exists()


@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_damaged_case_is_named_and_computed_again(copy, whole, caplog, harm):
    path = next(copy.rglob("experiments/offsets/*/*.parquet"))
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content[:-9] if harm == "truncated" else content)
    (copy / "results" / "smoke" / "offsets.parquet").unlink()
    run(PROFILE, choose(EXPERIMENTS, ["offsets"]), copy, progress=False)
    assert f"{path.name} is damaged" in caplog.text and contents(copy) == contents(whole)


def test_a_damaged_table_is_refused_named_and_made_again(copy, whole):
    path = copy / "results" / "smoke" / "offsets.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(
        ValueError, match=r"offsets.parquet is damaged or was altered.*`vwlib experiments offsets --profile smoke`"
    ):
        read_table("offsets", "smoke", copy)
    assert states(copy, QUICK)["offsets"] == "damaged"
    run(PROFILE, choose(EXPERIMENTS, QUICK), copy, progress=False)
    assert contents(copy) == contents(whole)


def test_a_table_of_other_words_is_stale_and_named(copy, caplog):
    summary = copy / "results" / "smoke" / "study.json"
    summary.write_text(summary.read_text().replace('"words"', ' "words"'))
    assert states(copy, ["offsets", "maps"]) == {"offsets": "stale", "maps": "stored"}
    read_table("offsets", "smoke", copy)
    assert "was made from another 'trials'" in caplog.text


def with_settings(**changes):
    """The profile with other settings of the experiments."""
    return PROFILE.model_copy(update={"experiments": PROFILE.experiments.model_copy(update=changes)})


def test_each_experiment_names_the_settings_that_it_reads(whole):
    assert {name: set(experiment.settings) for name, experiment in EXPERIMENTS.items()} == READ


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"noises": 3}, {"likeness"}),
        ({"draws": 60}, {"clusters"}),
        (
            {"test_images": 3},
            {"map_kinds", "truncation", "perturbations", "segments", "rates", "compounds", "instances", "frequency"},
        ),
        ({"near": 0.4}, {"clusters", "truncation", "probes", "likeness", "agreement"}),
        ({}, set()),
    ],
)
def test_other_settings_make_those_tables_stale_that_use_them(whole, change, stale):
    tables = Tables(with_settings(**change), whole)
    assert {name: tables.trouble(experiment) for name, experiment in EXPERIMENTS.items()} == {
        name: "stale" if name in stale else "" for name in EXPERIMENTS
    }


def test_a_new_setting_makes_no_table_stale(whole):
    class Grown(ExperimentSettings):
        another: int = 7

    profile = PROFILE.model_copy(update={"experiments": Grown(**PROFILE.experiments.model_dump())})
    assert not any(Tables(profile, whole).trouble(experiment) for experiment in EXPERIMENTS.values())


def test_another_version_makes_its_own_table_stale(whole):
    def again(*_):
        raise AssertionError("nothing is computed")

    for name in ("likeness", "maps"):
        newer = replace(EXPERIMENTS[name], compute=uses(*EXPERIMENTS[name].settings, version=2)(again))
        assert Tables(PROFILE, whole).trouble(newer) == "stale"


def test_an_experiment_that_names_no_settings_depends_on_all(whole):
    silent = replace(EXPERIMENTS["maps"], compute=lambda *_: None)
    assert silent.settings == set(ExperimentSettings.model_fields)
    assert Tables(PROFILE, whole).digest(silent) != Tables(with_settings(noises=3), whole).digest(silent)


def test_a_setting_that_there_is_not_cannot_be_used():
    with pytest.raises(ValueError, match="'noise'"):
        uses("noise")


def test_the_stored_tables_of_the_miniature_are_all_fresh():
    stored = status(load_profile("miniature"), list(EXPERIMENTS.values()))
    assert set(stored["state"]) == {"stored"}


def test_a_missing_table_says_which_command_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="`vwlib experiments maps --profile smoke` makes it"):
        read_table("maps", "smoke", tmp_path)
    with pytest.raises(FileNotFoundError, match="`vwlib study --profile smoke` makes it"):
        run(PROFILE, choose(EXPERIMENTS, ["offsets"]), tmp_path, progress=False)


def test_an_unknown_experiment_is_one_sentence(capsys):
    with pytest.raises(SystemExit):
        app(["experiments", "mops", "--profile", "smoke"])
    assert "'mops' is no experiment; there are displacements" in capsys.readouterr().err


def test_the_command_says_what_is_stored(whole, capsys):
    app(["experiments", "--profile", "smoke", "--store", str(whole), "--status"], standalone_mode=False)
    assert capsys.readouterr().out.count("stored") == len(EXPERIMENTS)


def test_a_damaged_list_of_records_counts_as_missing(copy, caplog):
    (copy / "results" / "smoke" / "experiments.json").write_text("{")
    assert states(copy, ["maps"]) == {"maps": "missing"} and "experiments.json is damaged" in caplog.text
