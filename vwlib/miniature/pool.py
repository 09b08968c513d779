"""A pool of rendered scenes: rendering costs more than a training step, so each scene is used several times."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from vwlib.concepts import DATASETS, concepts_of
from vwlib.files import writing_folder
from vwlib.miniature.captions import caption
from vwlib.miniature.scenes import BACKGROUNDS, COLOURS, LAYOUTS, Drawing, Placed, Scene, random_scene
from vwlib.miniature.sprites import STYLES, Sprites
from vwlib.paths import CACHE

VERSION = 4  # raise it when scenes are drawn in another way: stored pools are then drawn again
CONCEPT_WEIGHT = 4.0  # how much more often a scene shows one of the forty concepts than another noun
_COLOURS, _STYLES = list(COLOURS), list(STYLES)
_MOST_OBJECTS = max(layout.objects[1] for layout in LAYOUTS.values())


@dataclass(frozen=True)
class Pool:
    """Rendered scenes and what they show, as arrays; -1 marks an absent object or colour.

    Shapes: `images` (scene, y, x, 3) uint8; `noun`, `style`, `colour`, `angle`, `share` (scene, object); `box` (scene,
    object, 4) in px; `background` (scene); `colours` (scene, 2).
    """

    arrays: dict[str, np.ndarray]
    sprites: Sprites

    def __len__(self) -> int:
        return len(self.arrays["images"])

    @property
    def images(self) -> np.ndarray:
        """uint8 (scene, y, x, 3)."""
        return self.arrays["images"]

    def scene(self, index: int) -> Scene:
        """The scene at `index`, as `scenes.compose` returned it."""
        a = {key: value[index] for key, value in self.arrays.items() if key != "images"}
        objects = []
        for k in range(int((a["noun"] >= 0).sum())):
            colour = _COLOURS[a["colour"][k]] if a["colour"][k] >= 0 else None
            left, top, right, bottom = (int(edge) for edge in a["box"][k])
            drawing = Drawing(self.sprites.nouns[a["noun"][k]], _STYLES[a["style"][k]], colour)
            objects.append(Placed(drawing, (left, top, right, bottom), float(a["angle"][k]), float(a["share"][k])))
        colours = (_COLOURS[a["colours"][0]], _COLOURS[a["colours"][1]])
        return Scene(Image.fromarray(self.images[index]), BACKGROUNDS[a["background"]], colours, objects)

    def caption(self, rng: np.random.Generator, index: int) -> str:
        """A random caption of the scene at `index`."""
        return caption(rng, self.scene(index), self.sprites.names, self.images.shape[1])


def noun_weights(nouns: list[str], concept_weight: float = CONCEPT_WEIGHT) -> np.ndarray:
    """The probability of each noun in pretraining, (noun,)."""
    concepts = {concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
    weights = np.array([concept_weight if noun in concepts else 1.0 for noun in nouns])
    return weights / weights.sum()


def render_pool(
    sprites: Sprites, mix: dict[str, float], count: int, size: int, seed: int, concept_weight: float = CONCEPT_WEIGHT
) -> Pool:
    """Render `count` random scenes of `size` px in the pretraining styles; `mix` gives each layout's share.

    The pool is stored in the cache, under a name that says what determines it, and read from there the next time.
    """
    name = "-".join(f"{layout}{share:g}" for layout, share in mix.items())
    name += f"-{count}x{size}-seed{seed}-{len(sprites.nouns)}nouns-x{concept_weight:g}-v{VERSION}"
    path = CACHE / "pools" / name
    if not (path / "images.npy").exists():
        arrays = _render(sprites, mix, count, size, seed, concept_weight)
        with writing_folder(path, overwrite=True) as new:
            for key, array in arrays.items():
                np.save(new / f"{key}.npy", array)
    return Pool({file.stem: np.load(file, mmap_mode="r") for file in path.glob("*.npy")}, sprites)


def _render(
    sprites: Sprites, mix: dict[str, float], count: int, size: int, seed: int, concept_weight: float
) -> dict[str, np.ndarray]:
    per_object = (count, _MOST_OBJECTS)
    arrays: dict[str, np.ndarray] = {
        "images": np.empty((count, size, size, 3), np.uint8),
        "noun": np.full(per_object, -1, np.int16),
        "style": np.full(per_object, -1, np.int8),
        "colour": np.full(per_object, -1, np.int8),
        "box": np.zeros((*per_object, 4), np.int16),
        "angle": np.zeros(per_object, np.float32),
        "share": np.zeros(per_object, np.float32),
        "background": np.zeros(count, np.int8),
        "colours": np.zeros((count, 2), np.int8),
    }
    index_of = {noun: index for index, noun in enumerate(sprites.nouns)}
    layouts, shares = list(mix), np.array(list(mix.values())) / sum(mix.values())
    weights = noun_weights(sprites.nouns, concept_weight)
    for i in tqdm(range(count), desc="scenes", unit="scene", mininterval=2):
        rng = np.random.default_rng((seed, i))
        scene = random_scene(rng, sprites, LAYOUTS[layouts[rng.choice(len(layouts), p=shares)]], size, weights=weights)
        arrays["images"][i] = np.asarray(scene.image)
        arrays["background"][i] = BACKGROUNDS.index(scene.background)
        arrays["colours"][i] = [_COLOURS.index(colour) for colour in scene.colours]
        for k, placed in enumerate(scene.objects):
            arrays["noun"][i, k] = index_of[placed.drawing.noun]
            arrays["style"][i, k] = _STYLES.index(placed.drawing.style)
            arrays["colour"][i, k] = _COLOURS.index(placed.drawing.colour) if placed.drawing.colour else -1
            arrays["box"][i, k] = placed.box
            arrays["angle"][i, k], arrays["share"][i, k] = placed.angle, placed.share
    return arrays
