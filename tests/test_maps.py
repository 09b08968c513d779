"""Kinds of maps: each finds a map of its own family, what must not matter does not, and too few words are refused."""

import math

import pytest
import torch

from vwlib.experiments.controls import random_rotation
from vwlib.maps import MAPS, fit_map, fit_mlp

GENERATOR = torch.Generator().manual_seed(0)
SOURCE = torch.randn(240, 12, generator=GENERATOR)
MATRIX, OFFSET = torch.randn(12, 8, generator=GENERATOR), torch.randn(8, generator=GENERATOR)
HELD_OUT = torch.randn(60, 12, generator=GENERATOR)


def unexplained(mapped: torch.Tensor, truth: torch.Tensor) -> float:
    return float((mapped - truth).pow(2).sum() / (truth - truth.mean(0)).pow(2).sum())


@pytest.mark.parametrize("kind", ["bias", "ridge"])
def test_an_offset_is_found_by_kinds_that_have_one(kind):
    mapping = fit_map(kind, SOURCE, SOURCE @ MATRIX + OFFSET)
    torch.testing.assert_close(mapping(HELD_OUT), HELD_OUT @ MATRIX + OFFSET, rtol=1e-3, atol=1e-3)
    assert (
        unexplained(fit_map("linear", SOURCE, SOURCE @ MATRIX + 3 * OFFSET)(HELD_OUT), HELD_OUT @ MATRIX + 3 * OFFSET)
        > 0.01
    )


def test_ridge_is_near_least_squares_without_noise_and_better_with_much():
    noise = 20 * torch.randn(240, 8, generator=torch.Generator().manual_seed(1))
    few, truth = SOURCE[:16], HELD_OUT @ MATRIX
    torch.testing.assert_close(fit_map("ridge", SOURCE, SOURCE @ MATRIX).matrix, MATRIX, rtol=1e-3, atol=1e-3)
    ridge, bias = (
        unexplained(fit_map(kind, few, few @ MATRIX + noise[:16])(HELD_OUT), truth) for kind in ("ridge", "bias")
    )
    assert ridge < 0.5 * bias


@pytest.mark.parametrize("d", [12, 8, 20])
def test_procrustes_finds_a_rotation_a_scale_and_an_offset_also_between_unequal_dimensions(d):
    size = max(12, d)
    turn = random_rotation(size, 0)[:12, :d]
    flat = SOURCE @ turn @ turn.T if d < 12 else SOURCE  # what is dropped on the way is nothing
    mapping = fit_map("procrustes", flat, 2 * flat @ turn + 3)
    torch.testing.assert_close(mapping(flat), 2 * flat @ turn + 3, rtol=1e-3, atol=1e-3)


def test_procrustes_keeps_angles_where_least_squares_does_not():
    pulled = SOURCE * torch.linspace(1, 5, 12)
    matrix = fit_map("procrustes", SOURCE, pulled).matrix
    torch.testing.assert_close(matrix @ matrix.T / matrix[0].pow(2).sum(), torch.eye(12), rtol=1e-4, atol=1e-4)
    assert (
        unexplained(fit_map("linear", SOURCE, pulled)(SOURCE), pulled)
        < 1e-6
        < unexplained(fit_map("procrustes", SOURCE, pulled)(SOURCE), pulled)
    )


def test_relative_representations_do_not_know_a_rotation_a_unit_or_a_shift_of_the_source():
    target, turn = SOURCE @ MATRIX + OFFSET, random_rotation(12, 1)
    here, there = fit_map("relative", SOURCE, target), fit_map("relative", 5 * SOURCE @ turn + 1, target)
    torch.testing.assert_close(there(5 * HELD_OUT @ turn + 1), here(HELD_OUT), rtol=1e-3, atol=1e-3)
    assert unexplained(here(HELD_OUT), HELD_OUT @ MATRIX + OFFSET) < 0.5


def test_relative_representations_of_a_word_that_is_like_no_other_stay_finite():
    mapping = fit_map("relative", torch.eye(3), torch.eye(3))
    assert torch.isfinite(mapping(torch.stack([torch.full((3,), 1 / 3), -torch.ones(3)]))).all()


def test_a_network_carries_what_is_bent_better_than_a_matrix():
    bent = torch.tanh(SOURCE[:, :3]) ** 2 @ MATRIX[:3] + SOURCE @ MATRIX / 10
    truth = torch.tanh(HELD_OUT[:, :3]) ** 2 @ MATRIX[:3] + HELD_OUT @ MATRIX / 10
    network = fit_mlp(SOURCE, bent, hidden=64)
    assert unexplained(network(HELD_OUT), truth) < 0.7 * unexplained(fit_map("bias", SOURCE, bent)(HELD_OUT), truth)


def test_a_network_follows_from_its_seed_and_leaves_torchs_own_stream_alone():
    before = torch.get_rng_state()
    one, again, other = (fit_mlp(SOURCE, SOURCE @ MATRIX, seed, steps=40)(HELD_OUT) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), before) and not one.requires_grad


def test_a_network_stops_when_words_left_out_stop_gaining():
    noise = torch.randn(240, 8, generator=torch.Generator().manual_seed(2))
    assert (
        unexplained(fit_mlp(SOURCE, noise)(SOURCE), noise) > 0.5
    )  # trained to the end it would know most of the noise by heart


@pytest.mark.parametrize("kind", MAPS)
def test_every_kind_keeps_the_axes_before_the_last(kind):
    mapping = fit_map(kind, SOURCE, SOURCE @ MATRIX)
    moved = mapping(HELD_OUT.reshape(15, 4, 12))
    assert moved.shape == (15, 4, 8) and moved.dtype == torch.float32
    torch.testing.assert_close(moved.reshape(60, 8), mapping(HELD_OUT), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", MAPS)
def test_too_few_words_and_unequal_tables_are_refused(kind):
    with pytest.raises(ValueError, match="1 shared words"):
        fit_map(kind, SOURCE[:1], SOURCE[:1] @ MATRIX)
    with pytest.raises(ValueError, match="240 and 239 rows"):
        fit_map(kind, SOURCE, (SOURCE @ MATRIX)[1:])


def test_twelve_words_determine_a_map_of_twelve_dimensions_but_not_its_offset():
    assert math.isfinite(float(fit_map("linear", SOURCE[:12], SOURCE[:12] @ MATRIX).matrix.sum()))
    with pytest.raises(ValueError, match="13"):
        fit_map("bias", SOURCE[:12], SOURCE[:12] @ MATRIX)
