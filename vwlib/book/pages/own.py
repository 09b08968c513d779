"""A word of one's own: how like one's photos its pictures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from PIL import Image

from vwlib.models.classification import Classifier
from vwlib.models.memory import find_device
from vwlib.settings import Profile


def likeness(
    profile: Profile, pictures: Mapping[str, Sequence[Image.Image]], photos: Sequence[Image.Image]
) -> pd.DataFrame:
    """Mean cosine of some pictures with own photos in the judge's image features (DreamBooth's CLIP-I), a row for each
    group of pictures.

    It asks whether this very thing was drawn, while the judge's accuracy asks whether one of its kind was.
    """
    judge = Classifier.open(profile.judge, find_device(profile.device))
    features = judge.encode_images(photos)
    rows = [
        (label, float((judge.encode_images(group) @ features.T).mean()), len(group))
        for label, group in pictures.items()
    ]
    return pd.DataFrame(rows, columns=["pictures", "cosine with the photos", "n"])
