"""The yardstick comes to the same word as the library: what is compared does the same work. No test asserts a speed."""

import json
import sys

import pytest
import torch

from vwlib.concepts import TASKS
from vwlib.paths import ROOT
from vwlib.settings import Learning
from vwlib.trials import Trial


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])


@pytest.mark.parametrize("task", TASKS)
def test_the_plain_loop_learns_the_same_word(task, precise_lab):
    from plain_loop import learn_one_word

    trial = Trial("COCO", "dog", "cat")
    model = precise_lab.model(task)
    before = model.word_table().clone()
    plain = learn_one_word(model, precise_lab.split("COCO").train, trial, steps=3, rate=0.01)
    ours = precise_lab.learn(task, [trial], steps=3, lr=0.01, progress=False).vectors[0]
    torch.testing.assert_close(plain, ours, rtol=1e-3, atol=2e-4)
    assert not torch.allclose(plain, before[model.vocabulary.token_of("cat")].expand_as(plain), atol=1e-3)
    assert torch.equal(model.word_table(), before)


def test_a_quick_run_writes_a_record_for_each_task_and_size_and_a_figure(tmp_path, monkeypatch):
    import bench

    monkeypatch.setattr(bench, "TASKS", ("classification",))  # the slow one is generation
    threads = torch.get_num_threads()
    bench.main(["--quick", "--out", str(tmp_path)])
    torch.set_num_threads(threads)
    records = json.loads((tmp_path / "results.json").read_text())
    found = [(record["task"], record["words"]) for record in records]
    assert found == [(task, words) for task in bench.TASKS for words in (1, 2)]
    for field in ("words_per_second", "ratio", "steps_per_second", "peak_memory_mb", "matmul_share", "scoring_seconds"):
        assert all(record[field] > 0 for record in records)
    assert "<svg" in (tmp_path / "results.svg").read_text()


def test_the_steps_to_a_score_are_those_after_which_it_is_kept():
    from bench import steps_to

    assert steps_to(0.5, {10: 0.6, 20: 0.4, 30: 0.5, 40: 0.7}) == 30  # the 0.6 was luck
    assert steps_to(0.5, {10: 0.5, 20: 0.5}) == 10
    assert steps_to(0.5, {10: 0.9, 20: 0.4}) is None


def test_the_ratios_follow_from_the_measurements():
    from bench import compared

    ours = {"seconds_a_step": 0.2, "prepare": 10.0, "peak_memory_mb": 1.0, "matmul_share": 0.5, "scoring_seconds": 1.0}
    plain, target = {"seconds_a_step": 0.1, "matmul_share": 0.1}, {"steps_to_score": 50, "steps_taken": 40.0}
    learning = Learning(steps=60, batch=4)
    record = compared(ours, plain, target, 100, learning)
    assert record["plain_words_per_second"] == pytest.approx(0.1)
    assert record["words_per_second"] == pytest.approx(100 / 18)
    assert record["ratio"] == pytest.approx(100 / 5) and record["ratio_to_accuracy"] == pytest.approx(50)
    assert compared(ours, plain, target | {"steps_to_score": None}, 100, learning)["ratio_to_accuracy"] is None
