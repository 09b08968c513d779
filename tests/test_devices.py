"""Devices and memory: nothing is left behind on the wrong device, and work is split where memory runs out."""

import copy
from itertools import chain

import pytest
import torch
from exactly import in_full_precision
from pretend import CPU, GPU, on_pretended_gpu, place_of

from vwlib.concepts import TASKS
from vwlib.layers import hidden_states
from vwlib.learn import learn_trials
from vwlib.models.generation import Generator
from vwlib.models.memory import MemoryBudget, find_device
from vwlib.trials import make_trials

PROFILE = in_full_precision()


@pytest.fixture(params=[10**9, 100], ids=["roomy", "tight"])
def free(request, monkeypatch):
    """The free bytes of a GPU as torch reports them; whatever is done takes 30 % of them."""
    figures = {
        "memory_allocated": 0,
        "max_memory_allocated": 0.3 * request.param,
        "memory_reserved": 0,
        "mem_get_info": (request.param, 10**9),
    }
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return request.param


def modules_of(model):
    if model.task != "generation":
        return [model.model]
    return [model.pipeline.unet, model.pipeline.vae, model.pipeline.text_encoder, model.judge.model]


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize("task", TASKS)
def test_a_words_whole_way_runs_on_a_gpu_and_comes_to_what_it_comes_to_on_the_cpu(task, free, precise_lab):
    material, trials = precise_lab.split("COCO"), make_trials(PROFILE, "COCO")[:2]

    def go():
        model = copy.copy(precise_lab.model(task))  # a copy, as it remembers how much fits and where
        vars(model).pop("memory", None)
        features = model.cache_features(material.train[:12])
        learned = learn_trials(model, features, trials, steps=2, lr=0.02, batch=2, progress=False)
        scores = model.evaluate(learned.vectors, [trial.concept for trial in trials], material.names, features)
        return [
            place_of(next(iter(features.tensors.values()))),
            learned.vectors,
            learned.losses,
            hidden_states(model, learned.vectors),
            scores,
        ]

    on_cpu = go()
    with on_pretended_gpu(*modules_of(precise_lab.model(task))):
        on_gpu = go()
    assert (on_cpu[0], on_gpu[0]) == (CPU, GPU if free > 10**6 else CPU) and all(
        place_of(tensor) == CPU for tensor in on_gpu[1:4]
    )
    torch.testing.assert_close(on_gpu[1:4], on_cpu[1:4], rtol=1e-3, atol=1e-4)
    assert on_gpu[4] == on_cpu[4]


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch):
    assert [find_device(name).type for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(ValueError, match="device is 'cuda:1', but torch finds 0 CUDA devices"):
        find_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(find_device(name)) for name in ("auto", "cpu", "cuda:1")] == ["cuda", "cpu", "cuda:1"]


class Small:
    """Work for which memory runs out above some size, as a GPU's does."""

    def __init__(self, most):
        self.most, self.sizes = most, []

    def __call__(self, part):
        self.sizes.append(part.stop - part.start)
        if self.sizes[-1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(part.start, part.stop))


def test_a_part_for_which_memory_runs_out_is_halved_and_what_fitted_remembered():
    budget, work = MemoryBudget(CPU), Small(3)
    assert [*chain(*budget.map_in_batches("things", 10, work))] == list(range(10)) and work.sizes == [
        10,
        5,
        2,
        2,
        2,
        2,
        2,
    ]
    assert [*chain(*budget.map_in_batches("things", 4, work))] == list(range(4)) and work.sizes[7:] == [2, 2]
    assert budget.map_in_batches("other things", 0, work) == []


def test_on_a_gpu_the_first_thing_is_measured_and_the_rest_fills_the_free_memory(free):
    budget, work = MemoryBudget(GPU), Small(10)
    assert [*chain(*budget.map_in_batches("things", 6, work))] == list(range(6)) and work.sizes == [1, 2, 2, 1]


def test_a_thing_that_does_not_fit_alone_is_named():
    with pytest.raises(
        MemoryError,
        match=r"memory of cpu is too small for pictures, even for one at a time; another GPU, .*takes less\.$",
    ):
        MemoryBudget(CPU).map_in_batches("pictures", 4, Small(0))


def test_on_a_gpu_the_denoiser_computes_again_what_it_would_keep_and_on_the_cpu_it_does_not(precise_lab):
    usual = precise_lab.model("generation")
    settings = usual.settings.model_copy(update={"recompute": True})
    features, trials = (
        usual.cache_features(precise_lab.split("COCO").train[:1]),
        make_trials(PROFILE, "COCO", ["laptop"], ["dog"]),
    )
    kept, gradients = [], []
    for on_gpu in (False, True):
        pipeline, sizes = copy.deepcopy(usual.pipeline), []
        with on_pretended_gpu(*([pipeline.text_encoder] if on_gpu else [])):
            generator = Generator(pipeline, usual.judge, settings, PROFILE.prompt)
        assert pipeline.unet.is_gradient_checkpointing == on_gpu
        leaf = usual.word_table()[[5, 6]][None].requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            batch = generator.draw_batch(["laptop"], features, [trials[0].stream()], 2)
            loss = generator.losses(leaf, batch).sum()
        kept.append(sum(sizes))
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    torch.testing.assert_close(*gradients)
    assert kept[1] < kept[0] / 2


def test_in_half_precision_small_gradients_are_not_lost(precise_lab):
    generator = copy.deepcopy(precise_lab.model("generation"))
    with torch.no_grad():
        generator.pipeline.unet.conv_out.weight.mul_(1e-4)  # so that the gradients behind it are of the order of 1e-8
    features, trials = (
        generator.cache_features(precise_lab.split("COCO").train[:1]),
        make_trials(PROFILE, "COCO", ["laptop"], ["dog"]),
    )
    words = generator.word_table()[[5, 6]][None]
    gradients = []
    for precision in ("float32", "float16"):
        generator.settings = generator.settings.model_copy(update={"precision": precision})
        leaf = words.clone().requires_grad_()
        batch = generator.draw_batch(["laptop"], features, [trials[0].stream()], 2)
        loss = generator.losses(leaf, batch).sum()
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    torch.testing.assert_close(*gradients, rtol=0.05, atol=0.02 * float(gradients[0].abs().max()))
    assert gradients[0].abs().max() > 0 and gradients[1].dtype == torch.float32
