"""The training loop: killed and resumed, it takes the same steps."""

import numpy as np
import pytest
import torch
from torch import nn

from vwlib.miniature import architectures
from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.detection import Batch, best_regions, candidate_regions, detection_loss, focal_loss
from vwlib.miniature.generation import denoising_loss
from vwlib.miniature.pool import render_pool
from vwlib.miniature.sprites import load_sprites
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
    train(straight, loss_of(straight), schedule, seed=1, checkpoint=tmp_path / "a.pt")
    stop = iter(range(12))

    inner = loss_of(broken)

    def stopping(rng, noise):
        if next(stop, None) is None:
            raise KeyboardInterrupt
        return inner(rng, noise)

    with pytest.raises(KeyboardInterrupt):
        train(broken, stopping, schedule, seed=1, checkpoint=tmp_path / "b.pt", save_every=0)
    fresh = small()
    train(fresh, loss_of(fresh), schedule, seed=1, checkpoint=tmp_path / "b.pt")
    a, b = torch.load(tmp_path / "a.pt"), torch.load(tmp_path / "b.pt")
    for part in ("model", "average"):
        assert a[part].keys() == b[part].keys() and all(torch.equal(a[part][key], b[part][key]) for key in a[part])
    moments = [[state[key] for state in kept["optimiser"]["state"].values() for key in state] for kept in (a, b)]
    assert all(map(torch.equal, *moments)) and len(moments[0]) == len(moments[1]) > 0
    assert checkpoint_step(tmp_path / "b.pt") == 20


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    module = small()
    with pytest.raises(FloatingPointError, match="the loss of step 0 is not a number"):
        train(
            module,
            lambda *_: (module(torch.full((2, 4), torch.nan)).sum(), {}),
            Schedule(3, 0.1),
            seed=0,
            checkpoint=tmp_path / "c.pt",
        )
    assert not list(tmp_path.iterdir())


def test_regions_belong_to_the_smaller_object():
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.6, 0.6]]])
    around = candidate_regions(boxes, torch.tensor([[True, True]]), grid=10)
    assert around[0, 1].any() and not (around[0, 0] & around[0, 1]).any()
    assert not candidate_regions(boxes, torch.tensor([[True, False]]), grid=10)[0, 1].any()


def test_every_object_has_a_region():
    boxes = torch.tensor([[[0.02, 0.02, 0.05, 0.05], [0.5, 0.1, 0.9, 0.3]]])
    assert candidate_regions(boxes, torch.ones(1, 2, dtype=torch.bool), grid=12).any(-1).all()


def one_object() -> tuple[Batch, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch of one object with two candidate regions, of which the one that scores better has the looser box: batch,
    candidates, logits, boxes.
    """
    truth = torch.tensor([[[0.2, 0.2, 0.8, 0.8]]])
    batch = Batch(torch.zeros(1, 3, 8, 8), truth, torch.tensor([[True]]), torch.tensor([[0]]), ["cat"], 1, [])
    logits, predicted = torch.tensor([[[3.0], [0.0]]]), torch.tensor([[[0.2, 0.2, 0.8, 0.5], [0.2, 0.2, 0.8, 0.8]]])
    return batch, torch.ones(1, 1, 2, dtype=torch.bool), logits, predicted


def test_refinement_prefers_the_region_with_the_better_box():
    batch, around, logits, predicted = one_object()
    best, overlap = best_regions(around, logits, predicted, batch)
    assert best.item() == 0 and overlap.item() == pytest.approx(0.5)
    best, overlap = best_regions(around, logits, predicted, batch, refined=True)
    assert best.item() == 1 and overlap.item() == pytest.approx(1.0)


def test_in_refinement_a_region_is_to_score_as_well_as_its_box_fits():
    batch = one_object()[0]

    def loss(score: float) -> float:
        logits = torch.tensor([[[torch.tensor(score).logit()], [-20.0]]])
        return focal_loss(logits, torch.tensor([[0]]), batch, torch.tensor([[0.5]])).item()

    assert loss(0.5) == pytest.approx(0, abs=1e-6) and min(loss(0.1), loss(0.9)) > 0.01


def test_a_horizon_is_where_the_rate_would_have_ended():
    short, long = Schedule(5, 0.1, warmup=2, horizon=10), Schedule(10, 0.1, warmup=2)
    assert [short.rate_at(step) for step in range(5)] == [long.rate_at(step) for step in range(5)]


@pytest.mark.parametrize("refined", [False, True])
def test_the_detection_loss_falls_on_a_tiny_pool(refined, tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    pool, model = (
        render_pool(load_sprites(), {"Few": 1.0}, 4, architectures.DETECTION_SIZE, seed=1),
        architectures.build_detector(0).train(),
    )
    loss = detection_loss(pool, model, refined=refined, images=4, negatives=4, phrases=2)
    before = loss(np.random.default_rng(0), torch.Generator())[0].item()
    train(model, loss, Schedule(12, 2e-3, warmup=3), seed=0, checkpoint=tmp_path / "d.pt")
    assert loss(np.random.default_rng(0), torch.Generator())[0].item() < 0.8 * before


def test_the_denoising_loss_falls_on_a_tiny_pool(tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    pool = render_pool(load_sprites(), {"Portrait": 1.0}, 4, architectures.IMAGE_SIZE, seed=1)
    latents = np.random.default_rng(0).normal(size=(4, 16, 8, 8)).astype(np.float16)
    text, unet = architectures.build_text_encoder(0).eval(), architectures.build_unet(0).train()
    loss = denoising_loss(pool, latents, 1.0, text, unet, batch=8)
    before = loss(np.random.default_rng(0), torch.Generator().manual_seed(0))[0].item()
    train(unet, loss, Schedule(12, 3e-3, warmup=3), seed=0, checkpoint=tmp_path / "d.pt")
    assert loss(np.random.default_rng(0), torch.Generator().manual_seed(0))[0].item() < 0.9 * before


def test_the_contrastive_loss_falls_on_a_tiny_pool(tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    torch.manual_seed(0)
    image = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 32))
    text = nn.Sequential(nn.EmbeddingBag(2000, 32))
    model, scale = nn.ModuleList([image, text]), torch.tensor(2.66)
    pool = render_pool(load_sprites(), {"One": 1.0}, 64, 32, seed=1)
    loss = contrastive_loss(pool, image, text, scale, batch=32, choices=40, captions=8)
    before = loss(np.random.default_rng(0), torch.Generator())[0].item()
    train(model, loss, Schedule(60, 0.01, warmup=5), seed=0, checkpoint=tmp_path / "d.pt")
    assert loss(np.random.default_rng(0), torch.Generator())[0].item() < 0.8 * before
