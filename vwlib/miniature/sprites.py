"""The miniature's drawings: nouns drawn in six openly licensed emoji styles, as small RGBA pictures."""

import io
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from vwlib.miniature import WORLD
from vwlib.paths import MINIATURE

SPRITE_SIZE = 64  # px, the longer side of every drawing once its transparent margin is cut off

STYLES: dict[str, str] = WORLD["styles"]  # the npm package of each drawing style


@dataclass(frozen=True)
class Sprites:
    """All drawings, indexed by noun and style."""

    table: pd.DataFrame  # the noun list, as `read_nouns` returns it
    images: dict[str, dict[str, Image.Image]]  # [noun][style]: RGBA, the longer side `SPRITE_SIZE` px

    @cached_property
    def nouns(self) -> list[str]:
        """The nouns of the miniature's language, in the order of the noun list: the axis `noun` of all-noun scores."""
        return list(self.names)

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of each noun of the language: the noun itself, then its synonyms."""
        return {row.noun: (row.noun, *row.synonyms) for row in self.table.itertuples() if row.use == "language"}

    def with_reserve(self) -> "Sprites":
        """The same drawings, with the nouns in the language that only the second edition's texts speak of."""
        return Sprites(self.table.assign(use="language"), self.images)


def read_nouns(path: Path = MINIATURE / "nouns.csv") -> pd.DataFrame:
    """The noun list: columns `noun`, `icon`, `synonyms` (a list), `category`, `use` ("language" or "reserve")."""
    table = pd.read_csv(path, keep_default_na=False)
    return table.assign(synonyms=table["synonyms"].str.split())


@lru_cache(maxsize=1)
def load_sprites(path: Path = MINIATURE / "sprites.parquet") -> Sprites:
    """Read the committed drawings. Raises FileNotFoundError if the file is missing."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: restore it from the repository, or run `vwlib sprites`.")
    images: dict[str, dict[str, Image.Image]] = {}
    for row in pd.read_parquet(path).itertuples():
        images.setdefault(row.noun, {})[row.style] = Image.open(io.BytesIO(row.webp)).convert("RGBA")
    return Sprites(read_nouns(), images)


def cut_to_visible(picture: Image.Image, faintest: int) -> Image.Image:
    """Cut an RGBA picture to the pixels whose alpha (0 to 255) is more than `faintest`; uncut if there is none."""
    return picture.crop(picture.getchannel("A").point(lambda alpha: 255 * (alpha > faintest)).getbbox())


def render_icon(body: str, width: int, height: int, left: int = 0, top: int = 0) -> Image.Image:
    """Render one Iconify drawing, cut its transparent margin and scale its longer side to `SPRITE_SIZE` px."""
    import resvg_py  # only maintainers rebuild the drawings, so it is no dependency of the library

    side = 4 * SPRITE_SIZE
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {spaces} viewBox="{left} {top} {width} {height}">{body}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
    # Faint shadows would make the box larger than what one sees.
    picture = cut_to_visible(Image.open(io.BytesIO(png)).convert("RGBA"), 24)
    scale = SPRITE_SIZE / max(picture.size)
    size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
    # Resize with premultiplied alpha; otherwise the colour of fully transparent pixels bleeds into the edge.
    return picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def build_sprites(node_modules: Path, target: Path = MINIATURE / "sprites.parquet") -> pd.DataFrame:
    """Render every noun in every style from the npm packages in `node_modules` and write one parquet file.

    Raises FileNotFoundError for a missing package and KeyError if a style does not draw a noun.
    """
    rows = []
    for style, package in STYLES.items():
        folder = node_modules / package
        if not folder.exists():
            raise FileNotFoundError(f"{folder} is missing: run `npm install {' '.join(STYLES.values())}` first.")
        icons = json.loads((folder / "icons.json").read_text())
        for noun in read_nouns().itertuples():
            name = icons["aliases"][noun.icon]["parent"] if noun.icon in icons.get("aliases", {}) else noun.icon
            if name not in icons["icons"]:
                raise KeyError(f"{package} has no drawing '{noun.icon}' for the noun '{noun.noun}'.")
            icon = icons["icons"][name]
            usual = {"width": 16, "height": 16, "left": 0, "top": 0}
            box = {key: icon.get(key, icons.get(key, default)) for key, default in usual.items()}
            buffer = io.BytesIO()
            render_icon(icon["body"], **box).save(buffer, "webp", lossless=True, method=6, exact=False)
            rows.append({"noun": noun.noun, "style": style, "webp": buffer.getvalue()})
    table = pd.DataFrame(rows)
    table.to_parquet(target, compression="zstd", index=False)
    return table


def recolour(sprite: Image.Image, hue: float) -> Image.Image:
    """Turn the hue of a drawing by `hue` (a share of the colour circle); the shape stays."""
    hsv = np.asarray(sprite.convert("RGB").convert("HSV")).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + round(256 * hue)) % 256
    turned = Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")
    turned.putalpha(sprite.getchannel("A"))
    return turned
