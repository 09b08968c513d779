"""Learning words: the ball holds, companions do not matter, and failures are named."""

import pytest
import torch

from vwlib.concepts import TASKS
from vwlib.learn import (
    Learned,
    ball_radius,
    learn_trials,
    learn_words,
    project_to_ball,
    raise_if_diverged,
    still_learning,
)
from vwlib.models.memory import MemoryBudget
from vwlib.trials import Trial, make_trials


def learn(lab, task, trials, model=None, **changes):
    settings = {"steps": 3, "lr": 0.01, "progress": False} | changes
    return learn_trials(model or lab.model(task), lab.features(task, "COCO", "train"), trials, **settings)


def test_projection_stays_in_the_ball_and_leaves_the_inside_alone():
    centre, radius = torch.randn(3, 1, 5), torch.tensor([0.5, 2.0, torch.inf])
    vectors = centre + torch.randn(3, 4, 5)
    projected = project_to_ball(vectors, centre, radius)
    assert ((projected - centre).norm(dim=-1) <= radius[:, None] + 1e-6).all()
    assert torch.equal(projected[2], vectors[2])
    inside = (vectors - centre).norm(dim=-1) <= radius[:, None]
    assert torch.equal(projected[inside], vectors[inside])


def test_radius_is_delta_times_the_distance_to_the_nearest_word():
    table = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 10.0]])
    assert ball_radius(table, 0, 0.5) == pytest.approx(2.5)


def test_the_loop_minimises_any_loss_within_the_ball():
    start, target = torch.zeros(2, 1, 3), torch.ones(2, 1, 3)
    batches = iter([{"target": target}] * 100)
    radius = torch.tensor([0.5, torch.inf])
    learned = learn_words(
        lambda words, batch: (words - batch["target"]).pow(2).sum((1, 2)), start, radius, batches, steps=100, lr=0.1
    )
    assert learned.vectors[0].norm() == pytest.approx(0.5) and learned.losses.shape == (100, 2)
    torch.testing.assert_close(learned.vectors[1], target[1], atol=0.05, rtol=0)
    assert start.eq(0).all() and not next(batches, None)


@pytest.mark.parametrize("task", TASKS)
def test_a_word_learned_alone_equals_the_word_learned_among_others(task, precise_lab):
    trials = make_trials(precise_lab.profile, "COCO")
    together, alone = learn(precise_lab, task, trials), learn(precise_lab, task, trials[1:2])
    torch.testing.assert_close(together.vectors[1], alone.vectors[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together.losses[:, 1], alone.losses[:, 0], rtol=1e-3, atol=1e-4)


def test_a_word_learns_as_long_as_its_mean_loss_finds_new_minima():
    falling, still = torch.linspace(1, 0, 12), torch.ones(12)
    late = torch.cat([torch.linspace(1, 0, 8), torch.zeros(4)])
    losses = torch.stack([falling, still, late], 1)
    assert still_learning(losses[:2], 3).tolist() == [True, True, True]
    assert still_learning(losses[:5], 3).tolist() == [True, True, True]
    assert still_learning(losses[:6], 3).tolist() == [True, False, True]
    assert still_learning(losses, 3).tolist() == [True, False, True]
    assert still_learning(torch.cat([losses, losses[-1:]]), 3).tolist() == [True, False, False]


def test_words_stop_one_by_one_and_stay_where_they_stopped():
    start, target, sizes = torch.zeros(3, 1, 2), torch.tensor([0.1, 1.0, 9.0])[:, None, None].expand(3, 1, 2), []

    def loss(words, batch):
        sizes.append(len(words))
        return (words - batch["target"]).abs().sum((1, 2))

    def learned(rows):
        batches = iter([{"target": target[rows]}] * 40)
        free = torch.full((len(target[rows]),), torch.inf)
        return learn_words(loss, start[rows], free, batches, steps=40, lr=0.1, patience=4, snapshots=(30, 40))

    together = learned(slice(None))
    first, second, third = taken = together.steps.tolist()
    assert first < 30 and second < 30 and first != second and third == 40
    assert sizes == [sum(step <= steps for steps in taken) for step in range(1, 41)]
    assert torch.equal(together.vectors[:2], together.snapshots[30][:2]) and together.losses.shape == (40, 3)
    assert together.losses[first - 1 :, 0].unique().numel() == 1 and together.finite.all()
    for row in range(3):
        alone = learned(slice(row, row + 1))
        assert torch.equal(alone.vectors[0], together.vectors[row]) and alone.steps.tolist() == [together.steps[row]]


def test_times_of_noising_are_spread_over_strata(lab, monkeypatch):
    model, trials = lab.generator, make_trials(lab.profile, "COCO")[:2]
    monkeypatch.setattr(model, "strata", 4)
    streams = [trial.stream() for trial in trials]
    drawn = model.draw_batch([t.concept for t in trials], lab.features("generation", "COCO", "train"), streams, 8)
    assert (drawn["time"] // 250).tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]] * 2


def test_snapshots_are_what_fewer_steps_learn(lab):
    trials = make_trials(lab.profile, "COCO")[:2]
    whole = learn(lab, "classification", trials, steps=4, snapshots=(2, 4))
    half = learn(lab, "classification", trials, steps=2)
    assert list(whole.snapshots) == [2, 4]
    assert torch.equal(whole.snapshots[2], half.vectors) and torch.equal(whole.snapshots[4], whole.vectors)


@pytest.mark.parametrize("task", TASKS)
def test_constrained_words_stay_near_their_anchor_and_nothing_else_learns(task, lab):
    trials, model = [Trial("COCO", "dog", "cat", delta=0.5), Trial("COCO", "dog", "cat")], lab.model(task)
    before = model.word_table().clone()
    learned = learn(lab, task, trials, lr=0.5)
    words = sorted(model.vocabulary.words().values())
    limit = ball_radius(before[words], words.index(model.vocabulary.token_of("cat")), 0.5)
    distance = (learned.vectors - model.embeddings_of(["cat"])).norm(dim=-1)
    assert (distance[0] <= limit * 1.001).all() and (distance[1] > distance[0]).all()
    assert torch.equal(model.word_table(), before)
    assert all(not p.requires_grad and p.grad is None for p in model.embedding_module.parameters())


def test_an_anchor_of_several_tokens_is_refused(lab):
    with pytest.raises(ValueError, match=r"'xylophone'"):
        learn(lab, "classification", [Trial("COCO", "cat", "xylophone")])


class Wrapped:
    """A model with another loss."""

    def __init__(self, model):
        self.model, self.memory, self.sizes = model, MemoryBudget(model.device), []

    def __getattr__(self, name):
        return getattr(self.model, name)


class Cramped(Wrapped):
    """A model for which memory runs out in a step of more than two words."""

    def losses(self, vectors, batch):
        self.sizes.append(len(vectors))
        losses = self.model.losses(vectors, batch)
        if len(vectors) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses


@pytest.mark.parametrize("task", TASKS)
def test_words_do_not_depend_on_how_many_fit_into_memory(task, precise_lab):
    trials = [*make_trials(precise_lab.profile, "COCO"), Trial("COCO", "dog", "cat", delta=0.5)]
    cramped = Cramped(precise_lab.model(task))
    whole = learn(precise_lab, task, trials, steps=2, batch=2)
    parts = learn(precise_lab, task, trials, cramped, steps=2, batch=2)
    assert cramped.sizes == [5, 2, 2, 1, 2, 2, 1]
    torch.testing.assert_close(parts.vectors, whole.vectors, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(parts.losses, whole.losses, rtol=1e-3, atol=1e-4)


class Breaking(Wrapped):
    """A model whose loss for the first of several words is no number from the third step on."""

    def losses(self, vectors, batch):
        self.sizes.append(len(vectors))
        losses = self.model.losses(vectors, batch)
        return torch.cat([losses[:1] * (torch.nan if len(self.sizes) >= 3 else 1), losses[1:]])


def test_a_word_that_diverges_is_named_with_its_step_and_its_companion_is_not_touched(lab):
    trials = [Trial("COCO", "cat", "dog"), Trial("COCO", "dog", "cat")]
    breaking = Breaking(lab.model("classification"))
    learned = learn(lab, "classification", trials, breaking, steps=6, snapshots=(2, 4))
    alone = learn(lab, "classification", trials[1:], steps=6)
    assert learned.diverged_at == {0: 3} and learned.finite.tolist() == [False, True]
    assert [learned.finite_after(step).tolist() for step in (2, 4)] == [[True, True], [False, True]]
    torch.testing.assert_close(learned.vectors[1], alone.vectors[0], rtol=1e-3, atol=1e-4)
    with pytest.raises(FloatingPointError, match=r"cat from dog \(at step 3\)"):
        raise_if_diverged(learned, "classification", trials)


def test_divergence_is_refused_unless_it_is_allowed(lab, monkeypatch):
    trials = make_trials(lab.profile, "COCO")[:1]
    broken = Learned(torch.full((1, 4, 8), torch.nan), torch.full((5, 1), torch.nan))
    monkeypatch.setattr("vwlib.lab.learn_trials", lambda *others, **settings: broken)
    assert lab.learn("classification", trials, allow_divergence=True, progress=False) is broken
    with pytest.raises(FloatingPointError, match=trials[0].concept):
        lab.learn("classification", trials, progress=False)
