"""Whether the judge is right: the detector judges the generator's pictures too, and a person looks at some."""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw

from vwlib.concepts import TASKS, concepts_of
from vwlib.experiments.base import COUNT, Case, Experiment, Size, Sources, per
from vwlib.experiments.words import trial_rows, vectors_of
from vwlib.files import write_whole
from vwlib.lab import Lab
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.models.base import CachedFeatures
from vwlib.settings import load_profile
from vwlib.study.digest import trials_of
from vwlib.study.store import FRESH, TRIALS, Store, results_root
from vwlib.trials import Trial

SEED = 200  # of the choice of pictures to look at
TILE, COLUMNS = 192, 6  # px of a picture on a sheet, pictures in a row
JUDGES = ("judge", "detector")
NOTHING = "nothing"  # what a person writes who recognises none of the names


@torch.no_grad()
def called(lab: Lab, dataset: str, pictures: Sequence[Image.Image]) -> dict[str, list[str]]:
    """The concept of a dataset that each judge sees in pictures: the judge, and the detector, which looks for the ten
    names and takes that of its likeliest box.
    """
    names, detector = lab.split(dataset).names, lab.detector
    regions = CachedFeatures([""] * len(pictures), detector.encode_images(pictures))
    likeliest = detector.detect(detector.encode_names(names.values()), regions).amax(-1).argmax(0)  # (image,)
    choices = {"judge": lab.generator.judge.classify(pictures, list(names.values())), "detector": likeliest}
    return {who: [list(names)[place] for place in choice.tolist()] for who, choice in choices.items()}


@torch.no_grad()
def judged(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Whether a judge of another kind agrees: the detector names what the generator draws, as the judge does.

    One row a picture: of unconstrained words, those of other tasks carried, and of the concepts' own names
    (`trained_on` "name"). `judge_right` and `detector_right` say whether each sees the concept, `agrees` whether both
    see the same.
    """
    dataset, generator, count = case["dataset"], lab.generator, sources.sizes.judged
    for source in (*TASKS, "name"):
        if source == "name":
            names = lab.split(dataset).names
            trials = [Trial(dataset, concept, "") for concept in names]
            texts = (generator.word_table()[generator.vocabulary.encode(name)] for name in names.values())
            states = torch.cat([generator.encode_words(vectors[None]) for vectors in texts])
        else:
            words = sources.words(source, dataset)
            trials = trials_of(words)
            states = generator.encode_words(lab.transfer(vectors_of(words), source, "generation"))
        drawn = generator.generate(states, count, sources.seed_of(dataset))
        rows = trial_rows([trial for trial in trials for _ in range(count)], trained_on=source)
        rows = rows.assign(**called(lab, dataset, list(itertools.chain(*drawn))))
        right = {f"{who}_right": rows[who] == rows["concept"] for who in JUDGES}
        yield rows.assign(**right, agrees=rows["judge"] == rows["detector"])


@torch.no_grad()
def looked(lab: Lab, _: Case, sources: Sources) -> pd.DataFrame:
    """Pictures for a person to look at, drawn from the study's unconstrained words of all grids by a seeded rule.

    `picture` is its number, `image` the PNG, `noise` its number among those of the word's pictures, `judge` and
    `detector` what these see in it.
    """
    rng, generator = np.random.default_rng(SEED), lab.generator
    datasets = [case["dataset"] for case in per("dataset", fresh=True)(lab.profile)]
    words = [word for dataset in datasets for task in TASKS for word in sources.words(task, dataset)]
    chosen = [words[place] for place in rng.choice(len(words), min(sources.sizes.looked, len(words)), replace=False)]
    rows = []
    for picture, word in enumerate(sorted(chosen, key=lambda word: datasets.index(word.dataset)), 1):
        noise = int(rng.integers(lab.profile.generator.images_per_word))
        states = generator.encode_words(lab.transfer(word.vectors[None], word.task, "generation"))
        drawn = generator.generate(states, 1, word.seed + noise)[0]
        drawn[0].save(content := io.BytesIO(), "PNG")
        seen = {who: found[0] for who, found in called(lab, word.dataset, drawn).items()}
        of = {"picture": picture, "trained_on": word.task, "noise": noise, "image": content.getvalue()}
        rows.append(trial_rows(trials_of([word]), **of, **seen))
    return pd.concat(rows, ignore_index=True)


def lay_out(table: pd.DataFrame, world: str, folder: Path) -> list[Path]:
    """A sheet of numbered pictures for each dataset of the table `looked`, headed by its names, and `looked_at.csv`.

    A person writes one of the names beside each number there, or `NOTHING`. Returns the files.
    """
    files = []
    for dataset, rows in table.groupby("dataset", sort=False):
        names = ", ".join(sorted(concept.name for concept in concepts_of(str(dataset), world)))
        lines = -(-len(rows) // COLUMNS)
        sheet = Image.new("RGB", (TILE * COLUMNS, 30 + (TILE + 24) * lines), "white")
        draw = ImageDraw.Draw(sheet)
        draw.text((6, 6), f"{dataset}: {names}", "black", font_size=15)
        for place, row in enumerate(rows.itertuples()):
            x, y = TILE * (place % COLUMNS), 30 + (TILE + 24) * (place // COLUMNS)
            sheet.paste(Image.open(io.BytesIO(row.image)).resize((TILE - 8, TILE - 8)), (x, y))
            draw.text((x + 4, y + TILE - 6), str(row.picture), "black", font_size=18)
        sheet.save(content := io.BytesIO(), "PNG")
        files.append(folder / f"{dataset}.png")
        write_whole(files[-1], content.getvalue())
    files.append(folder / "looked_at.csv")
    write_whole(files[-1], table[["picture"]].assign(seen="").to_csv(index=False).encode(), overwrite=False)
    return files


def read_looked(profile: str, root: Path | None = None) -> pd.DataFrame:
    """The table `looked` with what a person has `seen`, from `looked_at.csv` beside it.

    Raises FileNotFoundError where one is missing, and ValueError for a picture that is missing, or a name that its
    dataset has not.
    """
    settings = load_profile(profile)
    store = Store(settings, root or results_root(settings))
    table, file = store.read_table("looked"), store.results / "looked_at.csv"
    if not file.exists():
        raise FileNotFoundError(
            f"{file} is missing: nobody has looked at the pictures yet; `vwlib look` lays them out."
        )
    labels = pd.read_csv(file, keep_default_na=False)
    if sorted(labels["picture"]) != list(table["picture"]):
        raise ValueError(f"{file} must name each of the {len(table)} pictures once.")
    table = table.merge(labels[["picture", "seen"]], on="picture")
    for row in table.itertuples():
        names = [concept.name for concept in concepts_of(row.dataset, settings.world)]
        if row.seen not in (*names, NOTHING):
            known = ", ".join(names)
            raise ValueError(
                f"{file}: picture {row.picture} shows '{row.seen}', which is none of {known} or {NOTHING}."
            )
    return table


def confusion(looked_at: pd.DataFrame) -> pd.DataFrame:
    """How many pictures each judge takes for the concept or for another, by what the person saw; and the share in which
    both saw the same.
    """
    rows = {}
    for who in JUDGES:
        for seen, part in looked_at.groupby(_kind(looked_at, "seen"), sort=True):
            counts = _kind(part, who).value_counts().reindex(["the concept", "another"], fill_value=0)
            rows[who, seen] = {**counts, "the same": (part[who] == part["seen"]).mean()}
    return pd.DataFrame(rows).T.rename_axis(["judge", "a person sees"])


def _kind(table: pd.DataFrame, who: str) -> pd.Series:
    kind = (table[who] == table["concept"]).map({True: "the concept", False: "another"})
    return kind.where(table[who] != NOTHING, NOTHING)


_JUDGED = Size("judged", COUNT, 1, 1, "pictures of a word that the detector judges too")
_LOOKED = Size("looked", COUNT, 200, 4, "pictures for a person to look at")
_RIGHT = ("judge_right", "detector_right", "agrees")
_OPINIONS = TableSchema("two judges' opinions of pictures", (*TRIAL, "trained_on", *_RIGHT), _RIGHT)
JUDGED = Experiment("judged", judged, per("dataset", fresh=True), (TRIALS, FRESH), (), (_JUDGED,), _OPINIONS)
LOOKED = Experiment("looked", looked, per(), (TRIALS, FRESH), (), (_LOOKED,))
