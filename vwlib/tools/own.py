"""A word for a thing of one's own, learned from own photos by the study's functions: scored everywhere, looked up,
kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import pandas as pd

from vwlib.datasets.photos import describe_photos, photo_settings
from vwlib.datasets.source import PHOTOS
from vwlib.lab import Grid, carry, displacements, run_grid
from vwlib.models import TASKS, load_models
from vwlib.models.base import NAME_PROMPT
from vwlib.settings import LARGEST_SEED, Profile
from vwlib.trials import Trial, as_words, load_material
from vwlib.words import Word, check_words_file, load_words, save_words, words_table

#: The texts that stand beside each other for one thing, in the order of `vwlib.book.pages.encode_trial`.
TEXTS = ("anchor word", *(f"learned for {task}" for task in TASKS), "its name")


def own_trial(profile: Profile, anchor: str, delta: float | None = None, seed: int = 0) -> Trial:
    """The trial of the profile's own photos; a `delta` of 0 is none, since a ball without a radius holds no other word
    than the anchor.

    Raises ValueError for a radius that is no number, for a seed that no generator takes, for an anchor that is not a
    single known token in all three models, for a name that is too long for one or that cannot be printed, and where the
    profile has no photos.
    """
    if delta is not None and not 0 <= delta < inf:
        raise ValueError(f"delta is {delta}, but a radius is a number from 0 on (0: unconstrained).")
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed is {seed}, but seeds are whole numbers from 0 to {LARGEST_SEED}.")
    trial = Trial(PHOTOS, photo_settings(profile).name, anchor, delta or None, seed)
    if not trial.concept.isprintable() or set(trial.concept) & set("{}"):
        raise ValueError(
            f"The thing cannot be called {trial.concept!r}; give it a name without braces and line ends with `--name` (name)."
        )
    for task, model in load_models(profile).items():
        model.vocabulary.token_of(anchor)
        try:
            model.vocabulary.prompt(NAME_PROMPT.format(trial.concept))
        except ValueError as error:
            raise ValueError(
                f"'{trial.concept}' cannot name the thing in {task}: {error} Give it another name with `--name` (name)."
            ) from error
    return trial


def learn_own(profile: Profile, trial: Trial, tasks: Sequence[str] = TASKS, progress: bool = True) -> Grid:
    """Experiment 1 (section 4) for one thing: its word for each task, scored on all three, beside the anchor word and
    the thing's name.

    Raises FloatingPointError where a word stops being a number, and otherwise as `vwlib.datasets` does.
    """
    return run_grid(profile, [trial], tasks, progress=progress)


def score_table(grid: Grid) -> pd.DataFrame:
    """The scores of one thing's words, a row for each task that they are used for: metric, test images or pictures,
    then a column for each of `TEXTS`.
    """
    columns = dict(zip(("anchor", *TASKS, "name"), TEXTS, strict=True))
    table = grid.table.pivot(index="evaluated_on", columns="trained_on", values="value").rename(columns=columns)
    asked = grid.table.drop_duplicates("evaluated_on").set_index("evaluated_on")[["metric", "n"]]
    shown = asked.join(table[[text for text in columns.values() if text in table]]).loc[list(TASKS)]
    return shown.rename_axis("used for").rename_axis(None, axis=1)


def neighbour_table(profile: Profile, grid: Grid) -> pd.DataFrame:
    """Where one thing's words lie in each model's word table, their own or after transfer: distance from the anchor,
    and each vector's nearest word.
    """
    rows = []
    for task in TASKS:
        for source, learned in grid.learned.items():
            moves = displacements(task, profile, grid.trials, carry(profile, learned.vectors, source, task))
            rows.append((task, source, moves["distance"].median(), ", ".join(moves["nearest"])))
    return pd.DataFrame(
        rows, columns=["word table of", "learned for", "median distance", "nearest word of each vector"]
    )


def words_of(profile: Profile, grid: Grid) -> list[Word]:
    """One thing's words with all that determined them."""
    return [
        word for task, learned in grid.learned.items() for word in as_words(task, profile, grid.trials, learned.vectors)
    ]


def keep_words(words: Sequence[Word], file: Path) -> None:
    """Add words to a file, or make it; one that is there under the same id is replaced.

    Raises ValueError where the file is damaged.
    """
    known = {word.word_id: word for word in load_words(file)} if file.exists() else {}
    save_words(list((known | {word.word_id: word for word in words}).values()), file)


def check_tasks(tasks: Sequence[str]) -> None:
    """That each of the tasks is one, and named once.

    Raises ValueError otherwise.
    """
    for number, task in enumerate(tasks):
        if task not in TASKS:
            raise ValueError(f"'{task}' is no task; choose from {', '.join(TASKS)}.")
        if task in tasks[:number]:
            raise ValueError(f"The task '{task}' is named twice; name each once.")


def learn_photos(
    profile: Profile,
    file: Path,
    anchor: str,
    delta: float | None = None,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    progress: bool = True,
) -> str:
    """Learn the words of the profile's own photos, add them to a words file, and say how they score, what they lie near
    and what they are called.

    Whatever is wrong with the photos, the anchor or the file is found before anything is learned.
    """
    check_tasks(tasks)
    check_words_file(file)
    told, trial = describe_photos(profile), own_trial(profile, anchor, delta, seed)
    load_material(profile, PHOTOS)
    grid = learn_own(profile, trial, tasks, progress)
    words = words_of(profile, grid)
    keep_words(words, file)
    tables = (
        score_table(grid).reset_index(),
        neighbour_table(profile, grid),
        words_table(words)[["word_id", "task", "concept", "anchor"]],
    )
    shown = [table.to_string(index=False, float_format="{:.2f}".format) for table in tables]
    return "\n\n".join([told, *shown, f"Written to {file}."])
