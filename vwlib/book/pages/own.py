"""A word of one's own: how like one's photos its pictures are, and how to go on from a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import pandas as pd
from PIL import Image

from vwlib.models import load_judge
from vwlib.settings import Profile
from vwlib.tools.exports import EMBEDS, token_for
from vwlib.words import Word


def likeness(
    profile: Profile, pictures: Mapping[str, Sequence[Image.Image]], photos: Sequence[Image.Image]
) -> pd.DataFrame:
    """Mean cosine of some pictures with own photos in the judge's image features (DreamBooth's CLIP-I), a row for each
    group of pictures.

    It asks whether this very thing was drawn, while the judge's accuracy asks whether one of its kind was.
    """
    judge = load_judge(profile)
    features = judge.encode_images(photos)
    rows = [
        (label, float((judge.encode_images(group) @ features.T).mean()), len(group))
        for label, group in pictures.items()
    ]
    return pd.DataFrame(rows, columns=["pictures", "cosine with the photos", "n"])


def own_commands(
    profile: Profile, words: Sequence[Word], photos: str, beside: str, file: str = "words.safetensors"
) -> str:
    """The commands that learn these words from a folder, list them and write the first for other programs."""
    first, named = words[0], ["--profile", profile.name]
    learn = [
        "learn",
        "--images",
        photos,
        "--name",
        first.concept,
        "--anchor",
        first.anchor,
        "--beside",
        beside,
        "--seed",
        str(first.seed),
        "--out",
        file,
    ]
    learn += ["--delta", f"{first.delta:g}"] if first.delta is not None else []
    export = ["export", first.word_id, "--words", file]
    token = token_for(first)
    name = token.strip("<>")
    lines = [
        ("Learn the words above and keep them", [*learn, *named]),
        ("List what a file holds", ["words", "--words", file]),
        ("For diffusers", [*export, "--token", token, "--to", EMBEDS]),
        (
            "For AUTOMATIC1111's web interface and ComfyUI",
            [*export, "--form", "embedding", "--to", f"{name}.safetensors"],
        ),
        (
            "A folder to publish, as those of the sd-concepts-library",
            [*export, "--form", "concept", "--token", token, "--to", name],
        ),
    ]
    return "\n\n".join(f"# {told}\n{shlex.join(['vwlib', *command])}" for told, command in lines)
