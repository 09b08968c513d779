"""Learning words: the ball holds, companions do not matter, and the loss falls."""

import pytest
import torch
from exactly import in_full_precision

from vwlib.lab import learn, prepared
from vwlib.learn import Learned, ball_radius, learn_words, project_to_ball
from vwlib.models import TASKS, load_model
from vwlib.models.memory import MemoryBudget
from vwlib.trials import Trial, make_trials

PROFILE = in_full_precision()


def test_projection_stays_in_the_ball_and_leaves_the_inside_alone():
    centre, radius = torch.randn(3, 5), torch.tensor([0.5, 2.0, torch.inf])
    vectors = centre[:, None] + torch.randn(3, 4, 5)
    projected = project_to_ball(vectors, centre, radius)
    distance = (projected - centre[:, None]).norm(dim=-1)
    assert (distance <= radius[:, None] + 1e-6).all() and torch.equal(projected[2], vectors[2])
    inside = (vectors - centre[:, None]).norm(dim=-1) <= radius[:, None]
    assert torch.equal(projected[inside], vectors[inside])


def test_radius_is_delta_times_the_distance_to_the_nearest_word():
    table = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 10.0]])
    assert ball_radius(table, 0, 0.5) == pytest.approx(2.5)


@pytest.mark.parametrize("task", TASKS)
def test_a_word_learned_alone_equals_the_word_learned_among_others(task):
    trials = make_trials(PROFILE, "COCO")
    model, frozen = load_model(task, PROFILE), prepared(task, PROFILE, "COCO", "train")
    together = learn_words(model, frozen, trials, steps=3, rate=0.01, progress=False)
    alone = learn_words(model, frozen, trials[1:2], steps=3, rate=0.01, progress=False)
    torch.testing.assert_close(together.vectors[1], alone.vectors[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together.losses[:, 1], alone.losses[:, 0], rtol=1e-3, atol=1e-4)


def test_words_kept_on_the_way_are_what_fewer_steps_learn():
    trials = make_trials(PROFILE, "COCO")[:2]
    model, frozen = load_model("classification", PROFILE), prepared("classification", PROFILE, "COCO", "train")
    whole = learn_words(model, frozen, trials, steps=4, rate=0.01, keep=(2, 4), progress=False)
    half = learn_words(model, frozen, trials, steps=2, rate=0.01, progress=False)
    assert (
        list(whole.after) == [2, 4]
        and torch.equal(whole.after[2], half.vectors)
        and torch.equal(whole.after[4], whole.vectors)
    )


@pytest.mark.parametrize("task", TASKS)
def test_constrained_words_stay_near_their_anchor(task):
    trials = [Trial("COCO", "dog", "cat", delta=0.5), Trial("COCO", "dog", "cat")]
    model = load_model(task, PROFILE)
    learned = learn_words(model, prepared(task, PROFILE, "COCO", "train"), trials, steps=4, rate=0.5, progress=False)
    table, token = model.word_table(), model.vocabulary.token_of("cat")
    words = sorted(model.vocabulary.words().values())
    distance = (learned.vectors - table[token]).norm(dim=-1)
    assert (distance[0] <= ball_radius(table[words], words.index(token), 0.5) * 1.001).all()
    assert (distance[1] > distance[0]).all()


@pytest.mark.parametrize("task", TASKS)
def test_only_the_words_learn(task):
    model = load_model(task, PROFILE)
    before = model.word_table().clone()
    learn(task, PROFILE, make_trials(PROFILE, "COCO")[:1], progress=False)
    assert torch.equal(model.word_table(), before)
    assert all(not p.requires_grad and p.grad is None for p in model.text_owner.parameters())


def test_an_anchor_of_several_tokens_is_refused():
    model = load_model("classification", PROFILE)
    with pytest.raises(ValueError, match=r"'xylophone' is \d+ tokens"):
        learn_words(
            model,
            prepared("classification", PROFILE, "COCO", "train"),
            [Trial("COCO", "cat", "xylophone")],
            steps=1,
            rate=0.1,
        )


class Cramped:
    """A model for which memory runs out in the middle of a step of more than two words, after their images are drawn."""

    def __init__(self, model):
        self.model, self.room, self.sizes = model, MemoryBudget(model.device), []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def losses(self, vectors, *others):
        self.sizes.append(len(vectors))
        losses = self.model.losses(vectors, *others)
        if len(vectors) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses


@pytest.mark.parametrize("task", TASKS)
def test_words_do_not_depend_on_how_many_fit_into_memory(task):
    trials = [*make_trials(PROFILE, "COCO"), Trial("COCO", "dog", "cat", delta=0.5)]
    model, frozen = load_model(task, PROFILE), prepared(task, PROFILE, "COCO", "train")
    cramped = Cramped(model)
    whole, split = (
        learn_words(m, frozen, trials, steps=2, rate=0.01, batch=2, progress=False) for m in (model, cramped)
    )
    assert cramped.sizes == [5, 2, 2, 1, 2, 2, 1]
    torch.testing.assert_close(split.vectors, whole.vectors, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(split.losses, whole.losses, rtol=1e-3, atol=1e-4)


class Breaking(Cramped):
    """A model whose loss for words of one concept is no number from the third step on."""

    def losses(self, vectors, concepts, *others):
        self.sizes.append(len(vectors))
        losses = self.model.losses(vectors, concepts, *others)
        return torch.where(
            torch.tensor([concept == "cat" and len(self.sizes) >= 3 for concept in concepts]), torch.nan, losses
        )


def test_a_word_that_fails_is_told_with_its_step_and_left_out_and_its_companion_is_not_touched():
    trials = [Trial("COCO", "cat", "dog"), Trial("COCO", "dog", "cat")]
    model, frozen = load_model("classification", PROFILE), prepared("classification", PROFILE, "COCO", "train")
    breaking = Breaking(model)
    learned = learn_words(breaking, frozen, trials, steps=12, rate=0.01, progress=False)
    alone = learn_words(model, frozen, trials[1:], steps=12, rate=0.01, progress=False)
    assert (
        learned.failed == {0: 3} and learned.finite.tolist() == [False, True] and breaking.sizes == [2] * 10 + [1] * 2
    )
    torch.testing.assert_close(learned.vectors[1], alone.vectors[0], rtol=1e-3, atol=1e-4)
    assert learned.losses.isfinite().all(0).tolist() == [False, True] and learned.losses[:2].isfinite().all()


def test_learning_ends_when_all_words_have_failed():
    breaking = Breaking(load_model("classification", PROFILE))
    frozen = prepared("classification", PROFILE, "COCO", "train")
    learned = learn_words(
        breaking, frozen, [Trial("COCO", "cat", "dog")], steps=40, rate=0.01, keep=(2, 40), progress=False
    )
    assert len(breaking.sizes) == 10 and learned.failed == {0: 3} and list(learned.after) == [2]


def test_words_that_fail_are_named_with_their_step(monkeypatch):
    trials = make_trials(PROFILE, "COCO")
    nothing = Learned(torch.zeros(4, 4, 8), torch.zeros(5, 4), failed={1: 3})
    monkeypatch.setattr("vwlib.lab.learn_words", lambda *others, **settings: nothing)
    with pytest.raises(
        FloatingPointError, match=rf"the words {trials[1].concept} from {trials[1].anchor} \(at step 3\) diverged"
    ):
        learn("classification", PROFILE, trials, progress=False)
