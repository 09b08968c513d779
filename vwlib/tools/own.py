"""A word for a thing of your own, learned from your photos: scored on every task, looked up, and saved.

Pictures without boxes get some as the paper's DreamBooth pictures did: the detector, asked for the thing's name,
proposes one, and a person corrects it in `boxes.json`.
"""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

import pandas as pd

from vwlib.concepts import TASKS, concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.folders import read_photos
from vwlib.datasets.photos import describe_photos, photo_settings, propose_boxes
from vwlib.datasets.pictures import BOXES
from vwlib.datasets.source import PHOTOS, SPLITS, read_boxes, write_boxes
from vwlib.datasets.splits import dataset_folder, open_lab
from vwlib.experiments.displacements import displacement_table
from vwlib.lab import Grid, Lab
from vwlib.models.base import NAME_PROMPT
from vwlib.settings import LARGEST_SEED, Profile
from vwlib.study.bank import words_table
from vwlib.study.digest import as_words
from vwlib.study.targets import check_words_file
from vwlib.trials import Trial
from vwlib.words import Word, load_words, save_words

#: The texts that are compared for one thing, in the order of `vwlib.book.pages.pictures.encode_trial`.
TEXTS = ("anchor word", *(f"learned for {task}" for task in TASKS), "its name")


def own_trial(lab: Lab, anchor: str, delta: float | None = None, seed: int = 0) -> Trial:
    """The trial of the profile's own photos; a `delta` of 0 means unconstrained, as None does.

    Raises ValueError if the profile has no photos, the radius or seed is out of range, the anchor is not a single token
    in each of the three models, or a prompt cannot contain the name.
    """
    if delta is not None and not 0 <= delta < inf:
        raise ValueError(f"delta is {delta}, but a radius is a number from 0 on (0: unconstrained).")
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed is {seed}, but seeds are whole numbers from 0 to {LARGEST_SEED}.")
    trial = Trial(PHOTOS, photo_settings(lab.profile).name, anchor, delta or None, seed)
    if not trial.concept.isprintable() or set(trial.concept) & set("{}"):
        advice = "give it a name without braces and line ends with `--name` (name)"
        raise ValueError(f"The thing cannot be called {trial.concept!r}; {advice}.")
    for task, model in lab.models.items():
        model.vocabulary.token_of(anchor)
        try:
            model.vocabulary.prompt(NAME_PROMPT.format(trial.concept))
        except ValueError as error:
            advice = "Give it another name with `--name` (name)."
            raise ValueError(f"'{trial.concept}' cannot name the thing in {task}: {error} {advice}") from error
    return trial


def score_table(grid: Grid) -> pd.DataFrame:
    """The scores of one thing's words: a row for each task that they are used for; columns `metric`, `n` (the number of
    test images or drawn pictures) and `TEXTS`.
    """
    columns = dict(zip(("anchor", *TASKS, "name"), TEXTS, strict=True))
    table = grid.table.pivot(index="evaluated_on", columns="trained_on", values="value").rename(columns=columns)
    asked = grid.table.drop_duplicates("evaluated_on").set_index("evaluated_on")[["metric", "n"]]
    shown = asked.join(table[[text for text in columns.values() if text in table]]).loc[list(TASKS)]
    return shown.rename_axis("used for").rename_axis(None, axis=1)


def neighbour_table(lab: Lab, grid: Grid) -> pd.DataFrame:
    """One thing's words in each word table, after transfer to it: their distance from the anchor and nearest words."""
    rows = []
    for task in TASKS:
        for source, learned in grid.learned.items():
            mapped = lab.transfer(learned.vectors, source, task)
            moves = displacement_table(lab.model(task), grid.trials, mapped)
            rows.append((task, source, moves["distance"].median(), ", ".join(moves["nearest"])))
    columns = ["word table of", "learned for", "median distance", "nearest word of each vector"]
    return pd.DataFrame(rows, columns=columns)


def words_of(profile: Profile, grid: Grid) -> list[Word]:
    """One thing's words with all that determined them."""
    return [w for task, learned in grid.learned.items() for w in as_words(task, profile, grid.trials, learned.vectors)]


def keep_words(words: Sequence[Word], file: Path) -> None:
    """Add words to a file, new or not, replacing words of the same ids. Raises ValueError for a damaged file."""
    known = {word.word_id: word for word in load_words(file)} if file.exists() else {}
    save_words(list((known | {word.word_id: word for word in words}).values()), file)


def learn_photos(
    profile: Profile,
    file: Path,
    anchor: str,
    delta: float | None = None,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    progress: bool = True,
) -> str:
    """Learn the words of the profile's own photos, add them to a words file, and return a text about them.

    All arguments, photos and the file are checked before anything is learned.
    """
    for number, task in enumerate(tasks):
        if task not in TASKS:
            raise ValueError(f"'{task}' is no task; choose from {', '.join(TASKS)}.")
        if task in tasks[:number]:
            raise ValueError(f"The task '{task}' is named twice; name each once.")
    check_words_file(file)
    lab = open_lab(profile)
    notice, trial = describe_photos(profile), own_trial(lab, anchor, delta, seed)
    lab.split(PHOTOS)
    grid = lab.run_trials([trial], tasks, progress=progress)
    words = words_of(profile, grid)
    keep_words(words, file)
    listed = words_table(words)[["word_id", "task", "concept", "anchor"]]
    tables = (score_table(grid).reset_index(), neighbour_table(lab, grid), listed)
    shown = [table.to_string(index=False, float_format="{:.2f}".format) for table in tables]
    return "\n\n".join([notice, *shown, f"Written to {file}."])


def box_pictures(profile: Profile, photos: Path | None = None) -> str:
    """Propose boxes for the profile's DreamBooth pictures or for a folder of own photos; return a notice.

    Raises ValueError and FileNotFoundError as `vwlib.datasets` does.
    """
    if photos is not None:
        root, examples = photos, read_photos(photos)
        names = {example.label: example.label for example in examples}
    else:
        root, concepts = dataset_folder(profile, "DreamBooth"), concepts_of("DreamBooth", profile.world)
        examples = [example for split in SPLITS for example in load_dataset("DreamBooth", root, concepts, split)]
        names = {concept.name: concept.prompt_name for concept in concepts}
    unboxed = [example for example in examples if not len(example.boxes)]
    added = add_boxes(root, propose_boxes(open_lab(profile).detector, unboxed, names)) if unboxed else 0
    units = "(left, top, right, bottom) in px of the upright picture"
    return f"{added} of {len(examples)} pictures got a box in {root / BOXES}; check them there, {units}."


def add_boxes(root: Path, boxes: Mapping[Path, Sequence[float]]) -> int:
    """Add the proposed box (left, top, right, bottom) of each picture to `boxes.json` in `root`; return how many.

    Pictures with boxes in the file keep them: a person may have corrected them. Raises ValueError for a malformed file.
    """
    known = read_boxes(root)
    named = {path.relative_to(root).as_posix(): [box] for path, box in boxes.items()}
    write_boxes(root, dict(sorted((named | known).items())))
    return len(named.keys() - known.keys())
