"""The study's store: interrupted, damaged or shared, it ends with the same bytes.

What learns and scores is a stand-in (`stand_in.py`), except in the tests of the models at the end.
"""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import stand_in
import torch

from vwlib.concepts import TASKS
from vwlib.datasets.splits import open_lab
from vwlib.settings import load_profile
from vwlib.study import run as runner
from vwlib.study import store as stores
from vwlib.study.formats import ChunkResult, pack_chunk, unpack_chunk
from vwlib.study.plan import WORDS, make_plan, word_count
from vwlib.study.progress import append_run, read_run_log, status
from vwlib.study.run import ensure_study, learn_chunk, run_study, score_chunk, threads, work
from vwlib.study.store import Store, bank_of
from vwlib.tools.cli import app
from vwlib.words import load_words

PROFILE = load_profile("smoke")
STAND_IN = [sys.executable, stand_in.__file__]


def contents(root: Path) -> dict[str, str]:
    """Checksums of everything that is published, the run log and the words' card aside."""
    files = [path for path in root.rglob("*") if path.is_file() and "chunks" not in path.parts]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("runs.jsonl", "README.md")
    }


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    """The studies of this process have no models."""
    monkeypatch.setattr(runner, "open_lab", stand_in.StandIn)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A store filled without interruption."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "open_lab", stand_in.StandIn)
        run_study(PROFILE, root, progress=False)
    return root


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A copy of the full store, to be damaged."""
    return shutil.copytree(whole, tmp_path / "store")


def damage(path: Path, harm: str) -> None:
    """Cut a file short, or turn one bit of it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-9] if harm == "truncated" else content)


def nothing_is_computed(monkeypatch) -> None:
    """From here on a test fails that learns or scores."""
    for name in ("learn_chunk", "score_chunk"):
        monkeypatch.setattr(runner, name, lambda *_: pytest.fail("computed again"))


def chunk_files(root: Path) -> list[Path]:
    return sorted((root / "chunks").rglob("*.safetensors"))


@contextmanager
def study_process(root: Path, *options: str) -> Iterator[subprocess.Popen]:
    """`vwlib study` of the paper's grid on a store, as a process of its own; its Dask workers use the stand-in too."""
    command = [*STAND_IN, "study", "--profile", "smoke", "--store", str(root), *options]
    (one_grid := root.with_suffix(".toml")).write_text("[smoke]\nfresh = false\n")
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": stand_in.__file__, stand_in.SECONDS: "0.2"}
    preload["VWLIB_SETTINGS"] = str(one_grid)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | preload
    ) as process:
        yield process


def worker_processes(study: subprocess.Popen, root: Path) -> list[psutil.Process]:
    """A study's local Dask workers, once a chunk is finished."""
    while study.poll() is None:
        workers = []
        for child in psutil.Process(study.pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # a short-lived helper may end meanwhile
                if "--multiprocessing-fork" in child.cmdline():
                    workers.append(child)
        if workers and chunk_files(root):
            return workers
        time.sleep(0.02)
    raise AssertionError(f"no worker process was found: {study.stderr and study.stderr.read()}")


def test_the_plan_has_every_word_once():
    plan = make_plan(load_profile("miniature"))
    assert word_count(plan) == 6000
    assert len({(chunk.task, trial) for chunk in plan if chunk.kind == WORDS for trial in chunk.trials}) == 6000
    assert len({chunk.name for chunk in plan}) == len(plan)


def test_every_word_has_three_scores_and_its_anchor_and_name_stand_beside_it(whole):
    table = pd.read_parquet(Store(PROFILE, whole).table_file())
    words = table[table["word_id"].notna()]
    assert (words.groupby("word_id")["evaluated_on"].nunique() == 3).all()
    assert words["word_id"].nunique() == 24
    assert set(table[table["word_id"].isna()]["trained_on"]) == {"anchor", "name"}
    assert set(Store(PROFILE, whole).bank) == set(words["word_id"])


def test_killed_at_any_point_the_rerun_ends_with_the_same_bytes(whole, tmp_path):
    with study_process(tmp_path) as process:
        while len(chunk_files(tmp_path)) < 5 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in chunk_files(tmp_path)}
    assert 5 <= len(kept) < len(make_plan(PROFILE))
    assert not (tmp_path / "results" / "smoke" / "trials.parquet").exists()
    run_study(PROFILE, tmp_path, progress=False)
    assert contents(tmp_path) == contents(whole)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())  # nothing finished was repeated


def test_two_processes_on_one_store_do_no_harm(whole, tmp_path):
    with study_process(tmp_path) as first, study_process(tmp_path) as second:
        for process in (first, second):
            _, error = process.communicate()
            assert process.returncode == 0, error
    assert contents(tmp_path) == contents(whole)


def test_a_cluster_that_loses_a_worker_ends_with_the_same_bytes(whole, tmp_path):
    pytest.importorskip("distributed")
    with study_process(tmp_path, "--workers", "1") as process:
        worker_processes(process, tmp_path)[-1].kill()  # its nanny starts another
        _, error = process.communicate()
        assert process.returncode == 0, error
    assert contents(tmp_path) == contents(whole)


def test_workers_lost_again_and_again_stop_the_study_with_one_sentence(tmp_path, monkeypatch):
    """A worker that does not survive its first chunk, and is given no other try."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    with study_process(tmp_path, "--workers", "1") as process:
        worker_processes(process, tmp_path)[-1].kill()
        _, error = process.communicate()
    assert process.returncode == 1
    assert "lost again and again" in error
    assert "Traceback" not in error


def test_a_cluster_with_gpus_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(runner, "open_lab", stand_in.StandIn)
    options = {"processes": False, "threads_per_worker": 1, "resources": {"GPU": 1}, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as running:
        run_study(PROFILE, tmp_path, scheduler=running.scheduler_address, progress=False)
    assert contents(tmp_path) == contents(whole)


def test_published_files_alone_are_a_finished_study(copy, monkeypatch):
    shutil.rmtree(copy / "chunks")
    nothing_is_computed(monkeypatch)
    assert run_study(PROFILE, copy, progress=False).finished == 24


def test_weights_that_are_not_the_originals_are_named_once_when_a_study_starts(copy, caplog):
    chunk_files(copy)[-1].unlink()
    shutil.rmtree(copy / "words")
    file = "open_clip_model.safetensors"
    other = load_profile("smoke", classifier={"sha256": {file: "0" * 64}})
    for _ in range(2):  # the second time nothing is left to do
        run_study(other, copy, progress=False)
    (message,) = (record.getMessage() for record in caplog.records if record.name == "vwlib.study.run")
    assert file in message


def test_a_finished_study_is_read_once(copy, monkeypatch):
    read, load = [], Store.load
    monkeypatch.setattr(Store, "load", lambda self, chunk: read.append(chunk.name) or load(self, chunk))
    run_study(PROFILE, copy, progress=False)
    assert read == [chunk.name for chunk in make_plan(PROFILE)]


@pytest.mark.parametrize("written", range(5))
def test_killed_while_publishing_the_rerun_ends_with_the_same_bytes(copy, whole, written, monkeypatch):
    shutil.rmtree(copy / "results")
    shutil.rmtree(copy / "words")
    files, write = [], stores.write_whole

    def write_some(*what):
        if len(files) == written:
            sys.exit("killed")
        files.append(what)
        write(*what)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(stores, "write_whole", write_some)
        run_study(PROFILE, copy, progress=False)
    assert len(contents(copy)) == written
    assert status(Store(PROFILE, copy)).invalid_files
    nothing_is_computed(monkeypatch)
    run_study(PROFILE, copy, progress=False)
    assert contents(copy) == contents(whole)


@pytest.mark.parametrize("harm", ["truncated", "altered"])
@pytest.mark.parametrize(
    "file", ["results/smoke/study.json", "results/smoke/trials.parquet", "words/smoke/generation.safetensors"]
)
def test_a_damaged_published_file_is_named_and_written_again_from_the_chunks(
    copy, whole, file, harm, caplog, monkeypatch
):
    damage(copy / file, harm)
    assert status(Store(PROFILE, copy)).invalid_files[0] == file
    assert f"{Path(file).name} is damaged" in caplog.text
    nothing_is_computed(monkeypatch)
    run_study(PROFILE, copy, progress=False)
    assert contents(copy) == contents(whole)


@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_damaged_table_alone_is_named_and_scored_again_without_learning(copy, whole, harm, caplog, monkeypatch):
    shutil.rmtree(copy / "chunks")
    damage(copy / "results" / "smoke" / "trials.parquet", harm)
    monkeypatch.setattr(stand_in.StandIn, "learn", lambda *_, **__: pytest.fail("learned again"))
    run_study(PROFILE, copy, progress=False)
    assert "trials.parquet is damaged" in caplog.text
    assert contents(copy) == contents(whole)


@pytest.mark.parametrize(
    "lost", ["words/smoke/classification.safetensors", "results/smoke/trials.parquet", "results/smoke/study.json"]
)
def test_a_lost_file_is_made_again(copy, whole, lost):
    shutil.rmtree(copy / "chunks")
    (copy / lost).unlink()
    assert status(Store(PROFILE, copy)).finished < 24
    run_study(PROFILE, copy, progress=False)
    assert contents(copy) == contents(whole)


@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_damaged_bank_is_named_and_made_again(copy, whole, harm, caplog):
    shutil.rmtree(copy / "chunks")
    damage(copy / "words" / "smoke" / "detection.safetensors", harm)
    run_study(PROFILE, copy, progress=False)
    assert "detection.safetensors is damaged" in caplog.text
    assert contents(copy) == contents(whole)


@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_damaged_chunk_is_named_and_computed_again(copy, whole, harm, caplog):
    path = next(path for path in chunk_files(copy) if "words-classification" in path.name)
    damage(path, harm)
    assert status(Store(PROFILE, copy)).finished == 20
    assert path.name in caplog.text
    run_study(PROFILE, copy, progress=False)
    assert contents(copy) == contents(whole)


def test_a_chunk_whose_content_was_altered_is_refused():
    content = pack_chunk(ChunkResult(rows=[{"value": 0.25}], failed=["f00d"]))
    assert unpack_chunk(content).rows == [{"value": 0.25}]
    with pytest.raises(ValueError, match="checksum"):
        unpack_chunk(content.replace(b"0.25", b"0.75"))


def test_a_full_disk_stops_with_one_sentence_and_no_damage(copy, whole):
    shutil.rmtree(copy / "chunks")
    (copy / "results" / "smoke" / "trials.parquet").unlink()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            run_study(PROFILE, copy, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(copy.rglob("*.partial"))
    run_study(PROFILE, copy, progress=False)
    assert contents(copy) == contents(whole)


def test_an_unwritable_folder_stops_with_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit):
        app(["study", "--profile", "smoke", "--store", str(tmp_path / "file")])
    error = capsys.readouterr().err
    assert "cannot be written to" in error
    assert "Traceback" not in error


def test_the_command_computes_both_grids_and_writes_the_words_card(copy, whole, capsys, monkeypatch):
    study = ["study", "--profile", "smoke", "--store", str(copy)]
    with pytest.raises(SystemExit) as end:
        app(study)
    assert not end.value.code
    card = (copy / "words" / "README.md").read_text()
    assert "smoke/detection.safetensors" in card and "smoke/fresh-detection.safetensors" in card
    assert contents(whole).items() < contents(copy).items()  # the paper's grid is what it is without the other
    nothing_is_computed(monkeypatch)
    shutil.rmtree(copy / "chunks")
    capsys.readouterr()
    app([*study, "--status"], standalone_mode=False)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["trials", "fresh"]


def test_the_grid_of_fresh_concepts_is_stored_as_the_papers_is(copy):
    paper, fresh = PROFILE.grids
    run_study(fresh, copy, progress=False)
    tables = [Store(PROFILE, copy).read_table(name) for name in ("trials", "fresh")]
    assert list(tables[0]) == list(tables[1])
    assert len(Store(fresh, copy).bank) == tables[1]["word_id"].nunique() == word_count(make_plan(fresh)) == 12
    assert {(word.dataset, word.seed) for word in Store(fresh, copy).bank.values()} == {("fresh-01", 1000)}
    assert len(bank_of(PROFILE, copy)) == 36
    store = Store(paper, copy)
    assert store.checksum("trials") != store.checksum("fresh") and not store.trouble("fresh")
    damage(copy / "results" / "smoke" / "fresh.parquet", "altered")
    assert (Store(paper, copy).trouble("fresh"), Store(paper, copy).trouble("trials")) == ("damaged", "")
    assert status(Store(fresh, copy)).invalid_files == ["results/smoke/fresh.parquet"]


def test_every_fresh_concept_is_learned_from_its_anchors_and_none_is_its_own():
    (_, fresh) = load_profile("miniature").grids
    trials = {trial for chunk in make_plan(fresh) for trial in chunk.trials if chunk.kind == WORDS}
    assert (len(trials), word_count(make_plan(fresh))) == (720, 2160)
    anchors = {(t.dataset, t.concept): set() for t in trials}
    for trial in trials:
        anchors[trial.dataset, trial.concept].add(trial.anchor)
    assert len(anchors) == 120
    assert all(len(words) == 3 and concept not in words for (_, concept), words in anchors.items())


def test_a_diverged_word_is_recorded_as_failed_and_retried_on_request(copy, whole, monkeypatch):
    chunk = next(chunk for chunk in make_plan(PROFILE) if chunk.kind == WORDS and chunk.task == "classification")
    lab, damaged = stand_in.StandIn(PROFILE), Store(PROFILE, copy)
    learned = lab.learn(chunk.task, chunk.trials)
    learned.vectors[1, 0, 0] = torch.nan
    monkeypatch.setattr(lab, "learn", lambda *_, **__: learned)
    result = score_chunk(lab, chunk, learn_chunk(lab, chunk))
    assert (len(result.words), len(result.failed)) == (3, 1)
    assert not {row["word_id"] for row in result.rows} & set(result.failed)
    damaged.save(chunk, result)
    damaged.publish()
    report = status(Store(PROFILE, copy))
    assert report.finished == 23
    assert chunk.name in str(report)
    assert run_study(PROFILE, copy, progress=False).finished == 23  # not on its own
    assert run_study(PROFILE, copy, progress=False, retry_failed=True).finished == 24
    assert contents(copy) == contents(whole)


def test_status_tells_how_long_the_rest_takes(copy):
    for path in chunk_files(copy)[-2:]:
        path.unlink()
    shutil.rmtree(copy / "words")
    log = [json.loads(line) for line in (copy / "results" / "smoke" / "runs.jsonl").read_text().splitlines()]
    for record in log:  # the stand-in takes no time
        append_run(Store(PROFILE, copy).log_file, record | {"learning": 9.0, "scoring": 1.0})
    report = status(Store(PROFILE, copy))
    assert log[0]["host"]
    assert len(report.missing) == 2
    assert report.hours_left > 0
    after = run_study(PROFILE, copy, progress=False)
    assert after.hours_left == 0
    assert not after.missing


def test_a_chunk_that_another_process_has_finished_meanwhile_is_not_computed(copy, monkeypatch):
    nothing_is_computed(monkeypatch)
    work(stand_in.StandIn(PROFILE), Store(PROFILE, copy), make_plan(PROFILE)[-1])


def test_what_a_killed_process_left_is_removed_and_what_another_is_writing_stays(copy, monkeypatch):
    folder = chunk_files(copy)[0].parent
    left, fresh = (folder / f".words.safetensors.{name}.partial" for name in ("left", "fresh"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    nothing_is_computed(monkeypatch)
    run_study(PROFILE, copy, progress=False)
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_torn_line_of_the_run_log_is_passed_over(copy):
    log = Store(PROFILE, copy).log_file
    lines = len(read_run_log(log))
    first = json.loads(log.read_text().splitlines()[0])
    log.write_text(log.read_text() + '{"chunk": "words-gen')
    append_run(log, first)
    log.write_text(log.read_text() + '17\n{"chunk": "no more"}\n{"chu')
    assert len(read_run_log(log)) == lines + 1


def test_the_grid_may_grow_and_keeps_what_it_has(copy):
    grown = load_profile("smoke", study={"deltas": (0.5, 1.0)})
    assert status(Store(grown, copy)).finished == 24
    assert word_count(make_plan(grown)) == 36
    changed = load_profile("smoke", learning={"detection": {"steps": 6, "rate": 0.02}})
    assert status(Store(changed, copy)).finished == 16  # all words but detection's


def test_the_models_learn_and_score_a_chunk_to_the_same_bytes_again(lab, monkeypatch):
    monkeypatch.setattr(runner, "open_lab", open_lab)
    store = Store(PROFILE, ensure_study(PROFILE))  # that of the pages, computed into the cache at first use
    chunk = next(chunk for chunk in make_plan(PROFILE) if chunk.kind == WORDS and chunk.task == "classification")
    with threads(PROFILE.study.threads):
        result = score_chunk(lab, chunk, learn_chunk(lab, chunk))
    assert pack_chunk(result) == pack_chunk(store.load(chunk))


def test_the_bank_of_a_store_is_its_words_files(whole):
    store = Store(PROFILE, whole)
    words = [word for task in TASKS for word in load_words(store.bank_file(task))]
    assert [word.word_id for word in words] == list(store.bank)
