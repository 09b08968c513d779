"""The training loop: killed and resumed, it takes the same steps."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.detection import candidate_regions
from vwlib.miniature.training import Schedule, checkpoint_step, train


def small() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    module.unused = nn.Parameter(torch.ones(2, 2))  # as OWL-v2 has: no loss reaches it
    return module


def loss_of(module: nn.Module):
    def loss(rng: np.random.Generator, noise: torch.Generator):
        x = torch.from_numpy(rng.normal(size=(16, 4)).astype(np.float32))
        return (module(x) - torch.randn(16, 2, generator=noise)).pow(2).mean(), {}

    return loss


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_stopped_training_resumes_on_the_same_path(tmp_path, average):
    schedule = Schedule(20, 0.01, warmup=3, average=average)
    straight, broken = small(), small()
    train(straight, loss_of(straight), schedule, seed=1, checkpoint=tmp_path / "a.safetensors")
    stop = iter(range(12))

    inner = loss_of(broken)

    def stopping(rng, noise):
        if next(stop, None) is None:
            raise KeyboardInterrupt
        return inner(rng, noise)

    with pytest.raises(KeyboardInterrupt):
        train(broken, stopping, schedule, seed=1, checkpoint=tmp_path / "b.safetensors", save_every=0)
    fresh = small()
    train(fresh, loss_of(fresh), schedule, seed=1, checkpoint=tmp_path / "b.safetensors")
    a, b = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert checkpoint_step(tmp_path / "b.safetensors") == 20


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    module = small()
    with pytest.raises(FloatingPointError, match="the loss of step 0 is not a number"):
        train(module, lambda *_: (module(torch.full((2, 4), torch.nan)).sum(), {}), Schedule(3, 0.1), seed=0, checkpoint=tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())


def test_regions_belong_to_the_smaller_object():
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.6, 0.6]]])
    around = candidate_regions(boxes, torch.tensor([[True, True]]), grid=10)
    assert around[0, 1].any() and not (around[0, 0] & around[0, 1]).any()
    assert not candidate_regions(boxes, torch.tensor([[True, False]]), grid=10)[0, 1].any()


def test_every_object_has_a_region():
    boxes = torch.tensor([[[0.02, 0.02, 0.05, 0.05], [0.5, 0.1, 0.9, 0.3]]])
    assert candidate_regions(boxes, torch.ones(1, 2, dtype=torch.bool), grid=12).any(-1).all()


def test_the_contrastive_loss_falls_on_a_tiny_pool(tmp_path, monkeypatch):
    from vwlib.miniature.architectures import tokenize
    from vwlib.miniature.pool import render_pool
    from vwlib.miniature.sprites import load_sprites

    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    torch.manual_seed(0)
    image = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 32))
    text = nn.Sequential(nn.EmbeddingBag(2000, 32))
    model, scale = nn.ModuleList([image, text]), torch.tensor(2.66)
    pool = render_pool(load_sprites(), {"ImageNet": 1.0}, 64, 32, seed=1)
    loss = contrastive_loss(pool, load_sprites(), image, text, scale, tokenize, batch=32, choices=40, captions=8)
    before = loss(np.random.default_rng(0), torch.Generator())[0].item()
    train(model, loss, Schedule(60, 0.01, warmup=5), seed=0, checkpoint=tmp_path / "d.safetensors")
    assert loss(np.random.default_rng(0), torch.Generator())[0].item() < 0.8 * before
