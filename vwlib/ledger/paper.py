"""What the paper reports: the numbers of figures 3 and 6, table 2, and the three models of section 4."""

from pathlib import Path

import pandas as pd

from vwlib.concepts import TASKS, find_dataset
from vwlib.paths import DATA
from vwlib.settings import Profile

RESULTS = DATA / "paper" / "figures_3_and_6.csv"

#: Section 4: name, width of the word table, blocks of the text encoder, image size in px; the last is the judge of
#: generations.
MODELS = {
    "generation": ("Stable Diffusion 2.1", 1024, 23, 768),
    "detection": ("OWL-v2, ViT-B/16", 512, 12, 960),
    "classification": ("DFN CLIP, ViT-L/14", 768, 12, 224),
    "judge": ("OpenAI CLIP, ViT-L/14", 768, 12, 224),
}


def paper_results(figure: str = "figure_3", dataset: str | None = None, path: Path = RESULTS) -> pd.DataFrame:
    """The points of figure 3 or 6, of one dataset or of all: `dataset`, `trained_on`, `evaluated_on`, `delta`, `mean`,
    `low`, `high`. Raises ValueError for a figure that has no numbers here and for an unknown dataset.
    """
    table = pd.read_csv(path).rename(columns={"trained_for": "trained_on", "ci_low": "low", "ci_high": "high"})
    if figure not in set(table["figure"]):
        raise ValueError(f"'{figure}' has no numbers here; there are {', '.join(sorted(set(table['figure'])))}.")
    chosen = table[table["figure"] == figure]
    if dataset is not None:
        chosen = chosen[chosen["dataset"] == find_dataset(dataset)]
    return chosen.drop(columns="figure").reset_index(drop=True)


def beside_paper(summary: pd.DataFrame, delta: float | None = None) -> pd.DataFrame:
    """Our means beside the paper's, one row for each dataset, target and source, in our datasets' and the tasks' order:
    figure 3's, or with `delta` figure 6's.

    `summary` has columns `dataset`, `evaluated_on`, `trained_on`, `mean`, `low`, `high`. `difference` is ours minus the
    paper's; `within` says whether our interval holds the paper's mean. There is no row where one of the two is missing.
    """
    table, keys = paper_results("figure_3" if delta is None else "figure_6"), ["dataset", "evaluated_on", "trained_on"]
    columns = [*keys, "mean", "low", "high"]
    table = table[table["delta"].isna() if delta is None else table["delta"] == delta]
    both = table[columns].merge(summary[columns], on=keys, suffixes=("_paper", "_ours"))
    order = {name: place for place, name in enumerate((*summary["dataset"].unique(), *TASKS))}
    both = both.sort_values(keys, key=lambda column: column.map(order), ignore_index=True)
    return both.assign(
        difference=both["mean_ours"] - both["mean_paper"],
        within=both["mean_paper"].between(both["low_ours"], both["high_ours"]),
    )


def hyperparameters(profile: Profile) -> pd.DataFrame:
    """Table 2 beside the profile's settings; where the tasks differ, their values stand in the tasks' order."""
    learning = [profile.learning[task] for task in TASKS]
    rows = [
        ("training images per concept", "images", 8, profile.train_images),
        ("embedding vectors per word", "vectors", 4, profile.vectors),
        ("optimisation steps", "steps", 1000, _one_or_each([task.steps for task in learning])),
        ("learning rate of Adam", "", 1e-4, _one_or_each([task.rate for task in learning])),
        ("batch", "images a step", 8, _one_or_each([task.batch for task in learning])),
        ("denoising steps when generating", "steps", 50, profile.generator.inference_steps),
        ("guidance scale when generating", "", "not stated", profile.generator.guidance),
        ("pictures judged per word", "images", "not stated", profile.generator.images_per_word),
        ("test images per concept", "images", "not stated", profile.test_images),
        ("prompt", "", "a photo of {word}", profile.prompt.replace("{}", "{word}")),
    ]
    return pd.DataFrame(rows, columns=["setting", "unit", "paper", profile.name]).astype(str).set_index("setting")


def _one_or_each(values: list) -> str:
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values))
