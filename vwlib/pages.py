"""What the pages show of models, words and studies: tables, and pictures for `vwlib.figures`."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import nms

from vwlib import paper
from vwlib.datasets import Example
from vwlib.models import TASKS, Classifier, Detector, Generator, TaskModel, load_judge, load_model
from vwlib.optimise import Learned, Trial
from vwlib.paths import MINIATURE
from vwlib.profiles import Profile
from vwlib.study import Grid, carry, is_diagonal, load_material, reference_rows, score
from vwlib.transfer import held_out_neighbours, ordered_pairs

#: Blocks of the text encoder, image size in px, and the modules whose parameters count, of each kind of adapter.
_TEXT_BLOCKS: dict[str, Callable] = {
    "Generator": lambda model: model.pipeline.text_encoder.config.num_hidden_layers,
    "Detector": lambda model: model.model.config.text_config.num_hidden_layers,
    "Classifier": lambda model: len(model.model.transformer.resblocks),
}
_IMAGE_SIZE: dict[str, Callable] = {
    "Generator": lambda model: model.settings.image_size,
    "Detector": lambda model: model.model.config.vision_config.image_size,
    "Classifier": lambda model: max(model.model.visual.image_size) if isinstance(model.model.visual.image_size, tuple) else model.model.visual.image_size,
}
_PARTS: dict[str, Callable] = {
    "Generator": lambda model: [model.pipeline.text_encoder, model.pipeline.unet, model.pipeline.vae],
    "Detector": lambda model: [model.model],
    "Classifier": lambda model: [model.model],
}


@dataclass(frozen=True)
class Table:
    """A table as a page shows it: without row numbers, rounded, headings on the left."""

    frame: pd.DataFrame
    digits: int
    header: bool = True

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False, header=self.header, border=0, justify="left", na_rep="–", float_format=f"{{:.{self.digits}f}}".format)

    def __repr__(self) -> str:
        return self.frame.to_string(index=False, header=self.header, na_rep="–", float_format=f"{{:.{self.digits}f}}".format)


def as_table(frame: pd.DataFrame, digits: int = 2, upright: bool = False) -> Table:
    """A data frame as a page shows it, its index as first columns; `upright` turns columns into rows, with no heading."""
    if upright:
        return Table(frame.T.reset_index(), digits, header=False)
    return Table(frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index(), digits)


def describe_models(profile: Profile) -> pd.DataFrame:
    """The three models and the judge, each beside the paper's: one row a role, with the columns that `model_table` shows upright."""
    adapters: dict[str, TaskModel] = {task: load_model(task, profile) for task in TASKS} | {"judge": load_judge(profile)}
    rows = []
    for role, model in adapters.items():
        kind = type(model).__name__
        name, width, blocks, pixels = paper.MODELS[role]
        rows.append(
            {
                "role": role,
                "model in the paper": name,
                "class here": "StableDiffusionPipeline" if isinstance(model, Generator) else type(_PARTS[kind](model)[0]).__name__,
                "parameters here (M)": sum(p.numel() for part in _PARTS[kind](model) for p in part.parameters()) / 1e6,
                "d in the paper": width,
                "d here": model.word_table().shape[1],
                "text blocks in the paper": blocks,
                "text blocks here": _TEXT_BLOCKS[kind](model),
                "image in the paper (px)": pixels,
                "image here (px)": _IMAGE_SIZE[kind](model),
                "words known here": len(model.vocabulary.words()),
            }
        )
    return pd.DataFrame(rows).set_index("role")


def model_table(description: pd.DataFrame) -> pd.DataFrame:
    """The description of the models with a column for each role."""
    shown = description.assign(**{"parameters here (M)": description["parameters here (M)"].map("{:.1f}".format)})
    return shown.astype(str).T.rename_axis("", axis=0).rename_axis(None, axis=1)


#: What each figure of quality.json says, and of how many things it is the share.
_MEASURES = {
    ("classifier", "ten_way"): ("names a test image among its dataset's ten concepts", "concept_images", "images"),
    ("classifier", "all_nouns"): ("names a new picture among all drawn nouns", "noun_images", "images"),
    ("detector", "ap50"): ("average precision of ten concept names, IoU 0.50", "images", "scenes"),
    ("detector", "map"): ("average precision of ten concept names, IoU 0.50 to 0.95", "images", "scenes"),
    ("generator", "ten_way"): ("judge names the drawn concept among its dataset's ten", "concept_images", "images"),
    ("generator", "all_nouns"): ("judge names the drawn concept among all nouns", "concept_images", "images"),
    ("judge", "ten_way"): ("names a test image among its dataset's ten concepts", "concept_images", "images"),
}


def quality_table(path: Path = MINIATURE / "quality.json") -> pd.DataFrame:
    """How good the miniature's models are with ordinary words, from `quality.json`; what it does not hold reads "not measured"."""
    quality = json.loads(path.read_text()) if path.exists() else {}
    rows = []
    for (model, figure), (measure, count, unit) in _MEASURES.items():
        measured = quality.get(model, {})
        value, n = measured.get(figure), measured.get("counts", {}).get(count)
        rows.append((model, measure, f"{value:.3f}" if value is not None else "not measured", f"{n:,} {unit}" if n else "–"))
    return pd.DataFrame(rows, columns=["model", "measure", "value", "measured on"]).set_index("model")


def found_boxes(model: Detector, examples: Sequence[Example], features: Tensor, overlap: float = 0.5) -> pd.DataFrame:
    """What the detector finds for text features (row, image, d), and the true boxes: the table that `figures.draw_detections` takes.

    On each image the best boxes that overlap each other by at most `overlap`, as many as the image has true boxes of its concept; in px.
    """
    frozen = model.prepare(examples)
    scores = model.detect(features.flatten(0, 1), frozen).unflatten(0, features.shape[:2])  # (row, image of the query, image, region)
    columns = ["row", "image", "left", "top", "right", "bottom", "score"]
    found = []
    for column, example in enumerate(examples):
        truth = example.boxes_of(example.label)
        side = max(example.image().size)
        for row in range(len(features)):
            score, boxes = scores[row, column, column], frozen.tensors["box"][column]
            best = nms(boxes, score, overlap)[: max(1, len(truth))]
            found += [(row, column, *box.tolist(), float("nan")) for box in truth]
            found += [(row, column, *(boxes[region] * side).tolist(), float(score[region])) for region in best]
    return pd.DataFrame(found, columns=columns)


@torch.no_grad()
def name_scores(model: Classifier, examples: Sequence[Example], names: dict[str, str]) -> pd.DataFrame:
    """Cosine of each image with each name in `NAME_PROMPT`: the table that `figures.score_bars` takes."""
    text = model.encode_names(names.values())
    cosine = model.encode_images([example.image() for example in examples]) @ text.T
    rows = [
        (image, names[concept], float(cosine[image, column]), concept == example.label)
        for image, example in enumerate(examples)
        for column, concept in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=["image", "name", "score", "is_true"])


@torch.no_grad()
def word_scores(model: Classifier, examples: Sequence[Example], concept: str, names: dict[str, str], words: dict[str, Tensor]) -> pd.DataFrame:
    """Mean cosine of a concept's images with the other concepts' names and with one word: the table that `figures.score_panels` takes.

    `words` gives the text feature (1, d) of the word that stands in each panel in the place of the concept's name.
    """
    mean = model.encode_images([example.image() for example in examples if example.label == concept]).mean(0)
    others = [name for other, name in names.items() if other != concept]
    rivals = (model.encode_names(others) @ mean).tolist()
    rows = []
    for panel, feature in words.items():
        rows.append((panel, "(word)", float(feature[0] @ mean), True))
        rows += [(panel, name, score, False) for name, score in zip(others, rivals, strict=True)]
    return pd.DataFrame(rows, columns=["panel", "name", "score", "is_true"])


def landing_table(models: dict[str, TaskModel], words: Sequence[str]) -> pd.DataFrame:
    """For each ordered pair the shared word nearest to where each of the words lands, by a map that was not fitted on them: a row a pair."""
    pairs = {pair: held_out_neighbours(models[pair[0]], models[pair[1]], words, count=1) for pair in ordered_pairs(models)}
    return pd.DataFrame({" to ".join(pair): landed["nearest 1"] for pair, landed in pairs.items()}).T.rename_axis("map").rename_axis(None, axis=1)


def nearest_table(moves: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """The words nearest to the vectors in a table of `vwlib.study.displacements`, the most frequent first: a row for each task and setting."""
    rows = []
    for (task, setting), part in moves.groupby(["task", "setting"], sort=False):
        counts = part["nearest"].value_counts().head(most)
        rows.append((task, setting, ", ".join(f"{word} ({count})" for word, count in counts.items())))
    return pd.DataFrame(rows, columns=["task", "setting", "nearest words (number of vectors)"])


def setting_of(trial: Trial) -> str:
    """How tables and figures call a trial's constraint."""
    return "unconstrained" if trial.delta is None else f"within delta = {trial.delta:g}"


def loss_table(learned: dict[str, Learned], trials: Sequence[Trial]) -> pd.DataFrame:
    """The losses of each task's words, one row a step and word: `task`, `setting`, `word` (its seed), `step`, `loss`."""
    rows = [
        (task, setting_of(trial), trial.seed, step, float(loss))
        for task, result in learned.items()
        for trial, losses in zip(trials, result.losses.T, strict=True)
        for step, loss in enumerate(losses, 1)
    ]
    return pd.DataFrame(rows, columns=["task", "setting", "word", "step", "loss"])


@torch.no_grad()
def encode_stages(task: str, profile: Profile, trials: Sequence[Trial], learned: Learned) -> dict[str, Tensor]:
    """What the text encoder makes of the prompt with the anchor word, with the first learned word of each setting, and with the concept's name."""
    model, first = load_model(task, profile), trials[0]
    own = load_material(profile, first.dataset).names[first.concept]
    stages = {"anchor word": model.encode_prompts([profile.prompt.format(first.anchor)])}
    for trial, vectors in zip(trials, learned.vectors, strict=True):
        stages.setdefault(f"learned, {setting_of(trial)}", model.encode_words(vectors[None]))
    return stages | {"concept's name": model.encode_prompts([profile.prompt.format(own)])}


def stage_scores(profile: Profile, trials: Sequence[Trial], learned: dict[str, Learned]) -> pd.DataFrame:
    """Mean score of one concept's words on their own tasks, one row a task, by setting; beside each setting the paper's mean for the dataset.

    `trials` share dataset, concept and anchor. The paper's value is missing where it tried no such ball.
    """
    first = trials[0]
    rows = []
    for task, result in learned.items():
        references = pd.DataFrame(reference_rows(task, profile, [first])).set_index("trained_on")["value"]
        scores = score(task, profile, result.vectors, trials)
        row: dict[str, object] = {"task": task, "anchor word": references["anchor"]}
        for setting in dict.fromkeys(map(setting_of, trials)):
            chosen = [(trial, s.value) for trial, s in zip(trials, scores, strict=True) if setting_of(trial) == setting]
            row[setting] = sum(value for _, value in chosen) / len(chosen)
            row[f"paper, {setting}"] = paper_mean(task, first.dataset, chosen[0][0].delta)
        rows.append(row | {"concept's name": references["name"]})
    return pd.DataFrame(rows).set_index("task")


def paper_mean(task: str, dataset: str, delta: float | None) -> float:
    """The paper's mean on a task's own words, unconstrained (figure 3) or within a ball (figure 6); not a number where there is none."""
    table = paper.paper_results("figure_3" if delta is None else "figure_6", dataset)
    own = table[(table["trained_on"] == task) & (table["evaluated_on"] == task) & (table["delta"].isna() if delta is None else table["delta"] == delta)]
    return float(own["mean"].iloc[0]) if len(own) else float("nan")


def first_of(examples: Sequence[Example], concepts: Sequence[str], count: int = 1) -> list[Example]:
    """The first `count` examples of each concept, in the order of `concepts`."""
    return [example for concept in concepts for example in [e for e in examples if e.label == concept][:count]]


def one_per_concept(grid: Grid, world: str) -> list[int]:
    """For each concept the first of the grid's trials that starts from another word than the concept's own."""
    rows = pd.DataFrame([{"dataset": t.dataset, "concept": t.concept, "anchor": t.anchor} for t in grid.trials])
    return rows[~is_diagonal(rows, world)].drop_duplicates("concept").index.tolist()


def named(judge: Classifier, pictures: Sequence[Image.Image], names: dict[str, str]) -> list[str]:
    """The name that the judge gives to each picture, choosing among the names of a dataset's concepts."""
    choices = list(names.values())
    return [choices[index] for index in judge.classify(pictures, choices)]


@torch.no_grad()
def draw_trials(profile: Profile, grid: Grid, rows: Sequence[int]) -> tuple[list[list[Image.Image]], list[list[str]]]:
    """Figure 4: one picture a word for chosen trials, all from the same noise, and the name that the judge gives to each picture.

    In each row: the anchor word, the words learned for generation, detection and classification (the last two mapped), the concept's name.
    """
    model, names = load_model("generation", profile), load_material(profile, grid.trials[0].dataset).names
    assert isinstance(model, Generator)
    pictures, verdicts = [], []
    for row in rows:
        trial = grid.trials[row]
        words = [carry(profile, grid.learned[source].vectors[[row]], source, "generation") for source in grid.learned]
        plain = model.encode_prompts([profile.prompt.format(trial.anchor), profile.prompt.format(names[trial.concept])])
        states = torch.cat([plain[:1], *(model.encode_words(vectors) for vectors in words), plain[1:]])
        pictures.append([drawn[0] for drawn in model.generate(states, 1, trial.seed)])
        verdicts.append(named(model.judge, pictures[-1], names))
    return pictures, verdicts


def describe_run(profile: Profile, learning: bool = True) -> str:
    """How a run with the profile differs from the paper's in models, images and, with `learning`, in how words are learned and scored."""
    if profile.name == "paper":
        return "This page was run with the paper's models, datasets and settings."
    millions = describe_models(profile)["parameters here (M)"]
    sizes = "{:.1f}, {:.1f} and {:.1f}".format(*(millions[task] for task in TASKS))
    steps = list(dict.fromkeys(f"{profile.learning[task].steps:,}" for task in TASKS))
    pixels = profile.generator.image_size
    models = (
        f"This page was run with the profile '{profile.name}': a generator, a detector and a classifier of {sizes} million parameters, trained by this "
        f"project on generated scenes, stand for the paper's. The generator draws {pixels} px instead of 768."
    )
    words = (
        f" Words are learned in {' or '.join(steps)} steps instead of 1,000, and scored on {profile.test_images} test images a concept "
        f"or on {profile.generator.images_per_word} pictures a word."
    )
    return models + words if learning else models


def grid_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of a grid for reading: a row for each target and source, with both intervals of the trials off the diagonal."""
    parts = {name: part.set_index(["evaluated_on", "trained_on"]) for name, part in summary.groupby("trials", sort=False)}
    off = parts["off-diagonal"].reindex(parts["all"].index)
    shown = {
        "all trials": parts["all"]["mean"],
        "off-diagonal": off["mean"],
        "interval, independent": [_span(*row) for row in off[["low", "high"]].itertuples(index=False)],
        "interval, crossed": [_span(*row) for row in off[["crossed_low", "crossed_high"]].itertuples(index=False)],
    }
    return pd.DataFrame(shown, index=parts["all"].index).rename_axis(["scored on", "learned for"])


def _span(low: float, high: float) -> str:
    return f"{low:.2f}\u00a0to\u00a0{high:.2f}"  # kept on one line


def provenance(profile: Profile, **settings: object) -> pd.DataFrame:
    """What a page was run with: the profile, the page's own settings, optimisation steps, and versions, in one row."""
    steps = ", ".join(f"{task} {profile.learning[task].steps}" for task in TASKS)
    packages = ", ".join(f"{name} {version(name)}" for name in ("vwlib", "torch", "diffusers", "transformers", "open_clip_torch"))
    row = {"profile": profile.name, **{name: _plain(value) for name, value in settings.items()}, "steps": steps}
    return pd.DataFrame([row | {"versions": f"Python {platform.python_version()}, {packages}", "processor": f"{platform.system()} {platform.machine()}"}])


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) or "the profile's" if isinstance(value, list | tuple) else value


def transfer_findings(summary: pd.DataFrame) -> dict[str, int | float | str]:
    """What the six transfers come to, in numbers and names for the text; `summary` is `summarise_grid`'s for one kind of trials.

    A transfer's gain is its mean minus the floor, the anchor word's mean in the target. `below_own` counts the transfers whose crossed
    interval ends below the mean of the target's own words, `above_floor` those whose interval begins above the floor.
    """
    cells = summary.set_index(["trained_on", "evaluated_on"])
    pairs = [(source, target) for target in TASKS for source in TASKS if source != target]
    gains = pd.Series({pair: cells.loc[pair, "mean"] - cells.loc[("anchor", pair[1]), "mean"] for pair in pairs})
    by_source = gains.groupby(level=0).mean().sort_values(ascending=False)
    best = gains.idxmax()
    return {
        "transfers": len(pairs),
        "below_own": sum(bool(cells.loc[pair, "crossed_high"] < cells.loc[(pair[1], pair[1]), "mean"]) for pair in pairs),
        "above_floor": sum(bool(cells.loc[pair, "crossed_low"] > cells.loc[("anchor", pair[1]), "mean"]) for pair in pairs),
        "best_source": best[0],
        "best_target": best[1],
        "best_mean": float(cells.loc[best, "mean"]),
        "best_floor": float(cells.loc[("anchor", best[1]), "mean"]),
        "best_own": float(cells.loc[(best[1], best[1]), "mean"]),
        "order": ", ".join(f"{source} ({gain:+.2f})" for source, gain in by_source.items()),
        "own_low": float(min(cells.loc[(task, task), "mean"] for task in TASKS)),
        "own_high": float(max(cells.loc[(task, task), "mean"] for task in TASKS)),
    }


def comparison_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The comparison of `vwlib.paper.beside_paper` for reading."""
    spans = {
        who: [f"{mean:.2f}\u00a0({_span(low, high)})" for mean, low, high in comparison[[f"mean_{who}", f"low_{who}", f"high_{who}"]].itertuples(index=False)]
        for who in ("paper", "ours")
    }
    return pd.DataFrame(
        {
            "scored on": comparison["evaluated_on"],
            "learned for": comparison["trained_on"],
            "paper": spans["paper"],
            "here": spans["ours"],
            "difference": comparison["difference"].map("{:+.2f}".format),
            "holds the paper's mean": comparison["within"].map({True: "yes", False: "no"}),
        }
    )
