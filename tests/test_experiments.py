"""The experiments' tables: whole or not at all, resumed, named when damaged or stale, and what the ledger asks for.

Where the store is what is tested, the experiments are made up and the study has no models (`stand_in.py`).
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import stand_in
from pydantic import PositiveInt

from vwlib.book.pages.experiments import tables_of
from vwlib.experiments import running
from vwlib.experiments.base import Experiment, Size, Sources, per
from vwlib.experiments.running import EXPERIMENTS, SCHEMAS, check_sizes, choose, read_tables, run, status
from vwlib.ledger.judge import judge_claims
from vwlib.settings import load_profile
from vwlib.study import run as runner
from vwlib.study.run import run_study
from vwlib.study.store import TRIALS, Store, read_table, results_root
from vwlib.tools.cli import app

PROFILE, MINIATURE = load_profile("smoke"), load_profile("miniature")


def compute(lab, case, sources):
    """A row for each of the study's words of a task, with a size."""
    time.sleep(float(os.environ.get("CASE_SECONDS", 0)))
    words = sources.words(case["task"], "COCO")
    return pd.DataFrame({"word": [word.word_id for word in words], "many": sources.sizes.many})


def count(lab, case, sources):
    return pd.DataFrame({"rows": [len(table) for table in sources.tables.values()]})


MADE_UP = {
    experiment.name: experiment
    for experiment in (
        Experiment("words", compute, per("task"), (TRIALS,), sizes=(Size("many", PositiveInt, 9, 2, "many"),)),
        Experiment("counts", count, per(), ("words",)),
        Experiment("free", count, per()),
    )
}
ALL = list(MADE_UP.values())


def contents(root: Path) -> dict[str, str]:
    """Checksums of the published files, the run log aside."""
    files = [path for path in (root / "results").rglob("*") if path.is_file() and path.name != "runs.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def states(root: Path, profile=PROFILE, experiments=ALL) -> dict[str, str]:
    """What `status` says of tables."""
    return status(profile, experiments, root).set_index("table")["state"].to_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A store with a finished study and the made-up experiments."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "open_lab", stand_in.StandIn)
        run_study(PROFILE, root, progress=False)
    run(PROFILE, ALL, root, progress=False)
    return root


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A copy of the full store, to be damaged."""
    return shutil.copytree(whole, tmp_path / "store")


@pytest.fixture
def made_up(monkeypatch):
    """The made-up experiments in the place of all."""
    monkeypatch.setattr(running, "SCHEMAS", {"words": None})
    for name in list(EXPERIMENTS):
        monkeypatch.delitem(EXPERIMENTS, name)
    EXPERIMENTS.update(MADE_UP)


# --- the real ones: smoke's tables, computed into the cache at first use


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return tables_of(PROFILE, list(EXPERIMENTS))


def test_every_table_has_the_columns_that_the_ledger_asks_for(tables):
    empty = {"likeness", "segments"}  # in a 2 x 2 grid no two unrelated anchors, and in smoke no word is a solution
    for name, table in tables.items():
        assert len(table) or name in empty, name
        assert set(SCHEMAS[name].columns if name in SCHEMAS else ()) <= set(table), name


def test_the_ledger_is_judged_on_all_tables(tables):
    judged = judge_claims(read_tables("smoke", results_root(PROFILE)), SCHEMAS, "smoke")
    assert len(judged) >= 57
    missing = set(judged["missing"].str.extract(r"The table '(\w+)' is missing")[0].dropna())
    assert missing <= {"fresh", "carried_anchors", "ceilings", "geometry"}


#: Tables of the miniature that wait for the second edition's models; `rates` is scored on other images since.
NEW = {"stopping", "twin", "ceilings", "carried_anchors", "other_maps", "ways", "styles", "judged", "looked"}
FIRST = [experiment for name, experiment in EXPERIMENTS.items() if name not in NEW | {"rates"}]


def test_the_stored_tables_of_the_miniature_are_all_fresh():
    assert len(EXPERIMENTS) == 33 and set(EXPERIMENTS) > NEW
    assert set(status(MINIATURE, FIRST)["state"]) == {"stored"}
    assert set(status(MINIATURE, choose(list(NEW)))["state"]) <= {"stored", "missing"}


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"noises": 3}, {"likeness"}),
        ({"draws": 60}, {"clusters"}),
        (
            {"test_images": 3},
            {"map_kinds", "truncation", "perturbations", "segments", "compounds", "instances", "frequency"},
        ),
        ({"near": 0.4}, {"clusters", "truncation", "probes", "likeness", "agreement"}),
    ],
)
def test_other_sizes_make_those_tables_stale_that_use_them(change, stale):
    changed = load_profile("miniature", experiments=change)
    found = status(changed, FIRST).set_index("table")["state"]
    assert set(found.index[found == "stale"]) == stale
    assert set(found) == {"stored", "stale"}


def test_another_version_makes_its_own_table_stale():
    newer = [replace(EXPERIMENTS[name], version=2) for name in ("likeness", "maps")]
    assert set(status(MINIATURE, newer)["state"]) == {"stale"}


# --- the store


def test_killed_in_the_middle_the_rerun_ends_with_the_same_bytes(copy, whole, monkeypatch):
    shutil.rmtree(copy / "chunks" / "smoke" / "experiments")
    for name in ("words", "counts"):
        (copy / "results" / "smoke" / f"{name}.parquet").unlink()
    code = (
        "from pathlib import Path; import test_experiments as t;"
        f"t.run(t.PROFILE, [t.MADE_UP['words']], Path({str(copy)!r}), progress=False)"
    )
    environment = os.environ | {"CASE_SECONDS": "0.5"}
    folder = Path(__file__).parent
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment) as process:
        while len(list(copy.rglob("experiments/words/*/*.parquet"))) < 2 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in copy.rglob("experiments/words/*/*.parquet")}
    assert len(kept) == 2
    assert states(copy)["words"] == "missing"
    run(PROFILE, ALL, copy, progress=False)
    assert contents(copy) == contents(whole)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())  # nothing finished was repeated


def test_an_altered_table_judges_nothing(copy, made_up):
    folder = copy / "results" / "smoke"
    for name in ("words", "trials"):
        path = folder / f"{name}.parquet"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.parquet is damaged"):
            read_tables("smoke", copy)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (folder / "something.parquet").write_bytes(b"no table of the ledger")
    assert set(read_tables("smoke", copy)) == {"words", "trials"}


def test_two_processes_lose_no_record(copy):
    """What another process writes down while this one waits is kept."""
    store = Store(PROFILE, copy)
    handle = os.open(store.results, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(store.publish_table, "words", [store.read_table("words")], digest="another")
        with pytest.raises(TimeoutError):
            publishing.result(timeout=0.3)
        records = json.loads(store.records_file.read_text())
        store.records_file.write_text(json.dumps(records | {"another": {}}))
        os.close(handle)
        publishing.result(timeout=60)
    assert {"another", "words"} <= set(json.loads(store.records_file.read_text()))


def test_stored_tables_are_not_computed_again(copy):
    shutil.rmtree(copy / "chunks" / "smoke" / "experiments")
    before = contents(copy)
    run(PROFILE, ALL, copy, progress=False)
    assert contents(copy) == before
    assert not (copy / "chunks" / "smoke" / "experiments").exists()


@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_damaged_case_is_named_and_computed_again(copy, whole, caplog, harm):
    path = next(copy.rglob("experiments/words/*/*.parquet"))
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content[:-9] if harm == "truncated" else content)
    (copy / "results" / "smoke" / "words.parquet").unlink()
    run(PROFILE, ALL, copy, progress=False)
    assert f"{path.name} is damaged" in caplog.text
    assert contents(copy) == contents(whole)


def test_a_damaged_table_is_refused_named_and_made_again(copy, whole):
    path = copy / "results" / "smoke" / "words.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"words\.parquet is damaged.*`vwlib experiments words --profile smoke`"):
        read_table("words", "smoke", copy)
    assert states(copy) == {"words": "damaged", "counts": "stale", "free": "stored"}
    run(PROFILE, ALL, copy, progress=False)
    assert contents(copy) == contents(whole)


def test_a_table_of_other_words_is_stale_and_named(copy, caplog):
    summary = copy / "results" / "smoke" / "study.json"
    summary.write_text(summary.read_text().replace('"words"', ' "words"'))
    assert states(copy) == {"words": "stale", "counts": "stored", "free": "stored"}
    read_table("words", "smoke", copy)
    assert "was made from another 'trials'" in caplog.text


def test_a_damaged_list_of_records_counts_as_missing(copy, caplog):
    (copy / "results" / "smoke" / "experiments.json").write_text("{")
    assert set(states(copy).values()) == {"missing"}
    assert "experiments.json is damaged" in caplog.text


def test_a_missing_table_says_which_command_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="`vwlib experiments maps --profile smoke`"):
        read_table("maps", "smoke", tmp_path)
    with pytest.raises(FileNotFoundError, match="`vwlib study --profile smoke`"):
        run(PROFILE, choose(["offsets"]), tmp_path, progress=False)


# --- sizes


def test_an_experiment_reads_the_sizes_that_it_declares_and_no_others():
    sizes = EXPERIMENTS["likeness"].sizes_of(MINIATURE)
    assert vars(sizes) == {"grid": MINIATURE.experiments.grid, "near": 0.5, "noises": 8}
    assert EXPERIMENTS["likeness"].sizes_of(PROFILE).noises == 2
    with pytest.raises(AttributeError):
        _ = Sources(PROFILE, sizes=sizes).sizes.draws


def test_a_settings_file_overrides_an_experiments_own_size(tmp_path, monkeypatch):
    (tmp_path / "settings.toml").write_text("[smoke.experiments]\nreach = [3, 4]\nnoises = 5\n")
    monkeypatch.setenv("VWLIB_SETTINGS", str(tmp_path / "settings.toml"))
    changed = load_profile("smoke")
    assert EXPERIMENTS["reach"].sizes_of(changed).reach == (3, 4)
    assert EXPERIMENTS["likeness"].sizes_of(changed).noises == 5
    check_sizes(changed)


@pytest.mark.parametrize(("name", "value"), [("noise", 3), ("noises", "many"), ("reach", [1, 2, 3])])
def test_a_size_that_there_is_not_and_one_of_another_type_are_named(name, value):
    wrong = load_profile("smoke", experiments={name: value})
    with pytest.raises(ValueError, match=f"{name}") as error:
        status(wrong, choose(["likeness", "reach"]))
    assert "\n" not in str(error.value)


# --- the command


def test_experiments_come_after_those_that_they_need():
    assert [experiment.name for experiment in choose(["crossings", "sweep"])] == [
        "truncation",
        "crossings",
        "rates",
        "sweep",
    ]


def test_an_unknown_experiment_is_one_sentence(capsys):
    with pytest.raises(SystemExit):
        app(["experiments", "mops", "--profile", "smoke"])
    assert "'mops' is no experiment" in capsys.readouterr().err


def test_the_command_says_what_is_stored(whole, capsys, made_up):
    app(["experiments", "--profile", "smoke", "--store", str(whole), "--status"], standalone_mode=False)
    assert capsys.readouterr().out.count("stored") == len(MADE_UP)
