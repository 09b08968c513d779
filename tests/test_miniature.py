"""The miniature's world: drawings, scenes, captions and tokenizer."""

import itertools

import numpy as np
import pytest
from PIL import Image

from vwlib.miniature import architectures, statements
from vwlib.miniature.captions import MAX_WORDS, caption, name_prompt, vocabulary
from vwlib.miniature.export import hub_tokenizer
from vwlib.miniature.pool import render_pool
from vwlib.miniature.scenes import COLOURS, HELD_OUT_STYLE, LAYOUTS, PRETRAINING_STYLES, Drawing, compose, random_scene
from vwlib.miniature.sprites import SPRITE_SIZE, STYLES, build_sprites, load_sprites, recolour
from vwlib.miniature.tokenizer import MERGES, write_merges

SPRITES = load_sprites()
NAMES = SPRITES.names


def scenes(count: int, layout: str = "COCO", size: int = 64):
    return [random_scene(np.random.default_rng((0, i)), SPRITES, LAYOUTS[layout], size) for i in range(count)]


def test_every_noun_is_drawn_in_every_style():
    assert len(SPRITES.table) >= 400 and set(SPRITES.images) == set(SPRITES.table["noun"])
    for noun in SPRITES.images:
        assert list(SPRITES.images[noun]) == list(STYLES)
        assert all(max(image.size) == SPRITE_SIZE and image.mode == "RGBA" for image in SPRITES.images[noun].values())


def test_no_name_means_two_nouns():
    names = [name for options in NAMES.values() for name in options]
    assert len(names) == len(set(names)) and len(SPRITES.nouns) == len(NAMES)


def test_reserve_nouns_have_no_word():
    reserve = set(SPRITES.table.loc[SPRITES.table["use"] == "reserve", "noun"])
    assert reserve and not reserve & set(vocabulary(SPRITES))


def test_a_scene_follows_from_its_seed():
    for first, second in zip(scenes(5), scenes(5), strict=True):
        assert first.image.tobytes() == second.image.tobytes() and first.objects == second.objects


def test_boxes_are_exact_for_a_lone_object():
    for seed in range(10):
        scene = compose(np.random.default_rng(seed), SPRITES, [Drawing("car", "noto")], LAYOUTS["ImageNet"], 64)
        left, top, right, bottom = scene.objects[0].box
        bare = np.asarray(scene.image).astype(int)
        # Seeds draw the background first, so the same seed with another drawing shows what lies behind.
        other = compose(np.random.default_rng(seed), SPRITES, [Drawing("key", "noto")], LAYOUTS["ImageNet"], 64)
        l2, t2, r2, b2 = other.objects[0].box
        outside = np.ones((64, 64), bool)
        outside[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = False
        outside[max(t2 - 1, 0) : b2 + 1, max(l2 - 1, 0) : r2 + 1] = False
        assert np.array_equal(bare[outside], np.asarray(other.image).astype(int)[outside])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_lie_inside_and_show_something(layout):
    for scene in scenes(30, layout):
        for placed in scene.objects:
            left, top, right, bottom = placed.box
            assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
            assert np.asarray(scene.image)[top:bottom, left:right].std() > 0


def test_scenes_keep_to_their_layout():
    for scene in scenes(30):
        assert 1 <= len(scene.objects) <= LAYOUTS["COCO"].objects[1]
        assert scene.objects[0].share == max(placed.share for placed in scene.objects)
        assert len({placed.drawing.noun for placed in scene.objects}) == len(scene.objects)


@pytest.mark.parametrize("layout", ["ImageNet", "DreamBooth", "PASCAL", "COCO", "Portrait"])
def test_a_datasets_main_thing_lies_near_the_middle_before_a_pale_ground(layout):
    for scene in scenes(20, layout, 96):
        left, top, right, bottom = scene.objects[0].box
        # A pixel for rounding, and a few for soft edges, which are visible but in no box.
        assert max(abs((left + right) / 2 - 48), abs((top + bottom) / 2 - 48)) <= 96 * LAYOUTS[layout].wander + 4
        corners = np.asarray(scene.image)[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.median(corners.min(1)) >= 150
    assert any(abs(sum(scene.objects[0].box[::2]) / 2 - 48) > 12 for scene in scenes(20, "One", 96))


def test_pretraining_never_sees_the_held_out_style():
    assert HELD_OUT_STYLE not in PRETRAINING_STYLES
    assert all(placed.drawing.style != HELD_OUT_STYLE for scene in scenes(50) for placed in scene.objects)


def test_recolouring_keeps_the_shape():
    sprite = SPRITES.images["boot"]["noto"]
    turned = recolour(sprite, 0.4)
    assert np.array_equal(np.asarray(turned)[..., 3], np.asarray(sprite)[..., 3])
    assert np.abs(np.asarray(turned).astype(int) - np.asarray(sprite)).mean() > 10


def test_captions_are_true_short_and_in_the_language():
    words = set(vocabulary(SPRITES))
    for i, scene in enumerate(scenes(200, "PASCAL")):
        text = caption(np.random.default_rng(i), scene, NAMES, 64)
        assert set(text.split()) <= words and len(text.split()) <= MAX_WORDS
        said = {noun for noun, names in NAMES.items() if any(f" {name} " in f" {text} " for name in names)}
        assert scene.objects[0].drawing.noun in said
        colours = {scene.colours[0], *(placed.drawing.colour for placed in scene.objects)}
        assert {word for word in text.split() if word in COLOURS} <= colours


def test_prompts_name_their_noun():
    for noun in SPRITES.nouns[:50]:
        text = name_prompt(np.random.default_rng(1), noun, NAMES)
        assert any(f" {name}" in f" {text}" for name in NAMES[noun])


EDITIONS = {"first": vocabulary(SPRITES), "second": statements.vocabulary()}


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_word_is_one_token_for_both_libraries(edition):
    ours, hub = architectures.tokenizer_of(edition), hub_tokenizer(edition)
    for word in EDITIONS[edition]:
        assert len(ours.encode(word)) == 1 and ours.encode(word) == hub(word, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("edition", EDITIONS)
def test_tokenizers_agree_on_whole_captions_and_unknown_words(edition):
    ours, hub = architectures.tokenizer_of(edition), hub_tokenizer(edition)
    assert ours.eot_token_id == ours.vocab_size - 1  # models pool at the largest id
    for text in ("a photo of a xylophone", "Two cats, one dog.", "a huge red cat on a striped background"):
        assert [ours.sot_token_id, *ours.encode(text), ours.eot_token_id] == hub(text)["input_ids"]


@pytest.mark.parametrize("edition", EDITIONS)
def test_merges_are_rebuilt_byte_for_byte(tmp_path, edition):
    write_merges(EDITIONS[edition], tmp_path / "bpe.txt.gz")
    assert (tmp_path / "bpe.txt.gz").read_bytes() == MERGES[edition].read_bytes()


def test_missing_packages_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm install @iconify-json/noto"):
        build_sprites(tmp_path, tmp_path / "sprites.parquet")


def test_a_pool_keeps_what_its_scenes_show(tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    pool = render_pool(SPRITES, {"COCO": 0.5, "ImageNet": 0.5}, 12, 48, seed=3)
    for index in range(len(pool)):
        scene = pool.scene(index)
        assert isinstance(scene.image, Image.Image) and scene.objects
        again = caption(np.random.default_rng(index), scene, NAMES, 48)
        assert again == caption(np.random.default_rng(index), pool.scene(index), NAMES, 48)
    kept = list(itertools.islice((tmp_path / "pools").rglob("*.npy"), 20))
    before = {path: path.stat().st_mtime_ns for path in kept}
    render_pool(SPRITES, {"COCO": 0.5, "ImageNet": 0.5}, 12, 48, seed=3)
    assert before == {path: path.stat().st_mtime_ns for path in kept}
