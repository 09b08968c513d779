"""The command line: each command imports what it needs and calls one function."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from vwlib.settings import load_profile


class Commands(TyperGroup):
    """Errors meant for the user are one line and exit code 1; VWLIB_DEBUG=1 shows where they come from."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, MemoryError, ModuleNotFoundError, FloatingPointError, RuntimeError) as error:
            # The only RuntimeError for users is a GPU whose memory ran out, known by name: importing torch is slow.
            unforeseen = isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError"
            if os.environ.get("VWLIB_DEBUG") or unforeseen:
                raise
            typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Commands,
    help="Visual Words: learn words for visual concepts in one model and use them in another.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Profile = Annotated[str, Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")]
Store = Annotated[Path | None, Option(help="Folder of results and words; by default that of the profile.")]
WordsFile = Annotated[Path | None, Option("--words", help="A words file; by default the bank of the profile's study.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an earlier file; learned words and models never.")]
MINIATURE = "miniature"


def report(problems: list[str], otherwise: str) -> None:
    """Print the problems and end with exit code 1; without any print the other sentence."""
    print("\n".join(problems) or otherwise)
    if problems:
        raise typer.Exit(1)


def results(profile: str, store: Path | None) -> tuple[Any, Path]:
    """The settings of a profile and the folder of its results and words."""
    from vwlib.study.store import results_root

    settings = load_profile(profile)
    return settings, (store or results_root(settings)).resolve()


def words_in(file: Path | None, profile: str, store: Path | None) -> list[Any]:
    """The words of a file or of a bank. Raises ValueError if both are given."""
    from vwlib.study.store import words_at

    if file and store:
        raise ValueError("--words names a file and --store the place of a profile's bank; give one of the two.")
    return words_at(file, profile, store, "np")


@app.command()
def book(
    profile: Profile = MINIATURE,
    only: Annotated[list[str] | None, Option(help="Execute only this chapter (repeat for more).")] = None,
    jobs: Annotated[int, Option(min=0, help="Chapters executed at a time; 0: one a core, at most four.")] = 0,
    check: Annotated[bool, Option("--check", help="Only say whether the built pages are up to date.")] = False,
) -> None:
    """Execute the chapters that changed and build the book into _build/html."""
    from vwlib.book.build import build_book, find_stale
    from vwlib.book.execute import make_ready

    if check:
        report(find_stale(profile), "The pages in _build/html are those of the present sources, library and data.")
        return
    os.environ["VWLIB_PROFILE"] = profile  # the chapters' kernels inherit it
    page = build_book(profile, only, jobs=jobs or None, prepare=make_ready)
    print(f"The book is in {os.path.relpath(page)}.")


@app.command()
def links(profile: Profile = MINIATURE) -> None:
    """Check every address that the executed chapters link to, over the network. Exit code 1 if one is dead."""
    from vwlib.book.build import check_links

    report(check_links(profile), "Every address that the book links to is there.")


@app.command()
def study(
    profile: Profile = MINIATURE,
    workers: Annotated[int, Option(min=0, help="Local processes (with the extra 'grid'); 0: this one.")] = 0,
    scheduler: Annotated[str | None, Option(help="Address of a Dask scheduler, such as tcp://host:8786.")] = None,
    store: Store = None,
    retry_failed: Annotated[bool, Option("--retry-failed", help="Learn diverged words again.")] = False,
    status: Annotated[bool, Option("--status", help="Only say what is done, missing and failed.")] = False,
    estimate: Annotated[float | None, Option(help="Only say how long it takes on machines so much faster.")] = None,
) -> None:
    """Learn and score every word of the profile's study that is not finished, grid after grid."""
    from vwlib.study import progress
    from vwlib.study.store import Store as Results

    settings, root = results(profile, store)
    for grid in settings.grids:
        if status:
            print(f"{grid.study.table}: {progress.status(Results(grid, root, 'np'))}")
        elif estimate is not None:
            print(f"{grid.study.table}\n{progress.estimate(grid, Results(grid, root), estimate, max(workers, 1))}")
        else:
            from vwlib.study import run as runner  # imports the models' libraries, which takes seconds
            from vwlib.tools.card import write_card

            found = runner.run_study(grid, root, workers=workers, scheduler=scheduler, retry_failed=retry_failed)
            print(f"{grid.study.table}: {found}")
            write_card(root)


@app.command()
def experiments(
    names: Annotated[list[str] | None, Argument(help="Which tables; by default all.")] = None,
    profile: Profile = MINIATURE,
    store: Store = None,
    status: Annotated[bool, Option("--status", help="Only say which tables are stored or missing.")] = False,
) -> None:
    """Compute the tables of the other experiments that are not finished; the study must be."""
    from vwlib.experiments import running
    from vwlib.experiments.running import choose

    chosen = choose(names or [])
    settings, root = results(profile, store)
    if not status:
        running.run(settings, chosen, root)
    for row in running.status(settings, chosen, root).to_dict("records"):
        print(f"{row['table']:<22} {row['state']:<22} {row['rows']:>8,} rows  {row['asks']}")


@app.command()
def look(
    folder: Annotated[Path, Argument(help="The folder to write the sheets and the file for the labels to.")],
    profile: Profile = MINIATURE,
    store: Store = None,
) -> None:
    """Lay out the pictures of the table `looked` for a person, who writes down what each shows."""
    from vwlib.experiments.looked import lay_out
    from vwlib.study.store import read_table

    settings, root = results(profile, store)
    lay_out(read_table("looked", profile, root), settings.world, folder)
    print(f"Fill in {folder}/looked_at.csv, and put it into {root}/results/{profile}.")


@app.command()
def claims(profile: Profile = MINIATURE, store: Store = None) -> None:
    """Judge the paper's claims by the stored tables, and write the verdicts to claims.json."""
    from vwlib.book.pages.ledger import in_words
    from vwlib.experiments.running import SCHEMAS, read_tables
    from vwlib.ledger.judge import judge_claims
    from vwlib.ledger.verdicts import verdict_counts, verdict_words, write_claims

    _, root = results(profile, store)
    judged = in_words(judge_claims(read_tables(profile, root), SCHEMAS, profile))
    counts = verdict_counts(judged).items()
    print(", ".join(f"{count} {verdict_words(str(verdict), profile)}" for verdict, count in counts) + ".")
    print(f"Written to {write_claims(judged, profile, root)}.")


@app.command()
def doctor(
    profile: Profile = MINIATURE,
    checksums: Annotated[bool, Option(help="Compare the weights with the originals' checksums.")] = True,
) -> None:
    """Say which devices, weights and datasets are ready for a run. Exit code 1 if something is missing."""
    from vwlib.tools.doctor import examine

    found = examine(load_profile(profile), checksums=checksums)
    print(found.text())
    raise typer.Exit(1 if found.missing else 0)


@app.command()
def manifest(
    file: Annotated[Path, Argument(help="The manifest, a json file.")],
    profile: Profile = MINIATURE,
    check: Annotated[bool, Option("--check", help="Compare the present images with the manifest.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """List a profile's training and test images with their checksums, or compare them with such a list."""
    from vwlib.study.manifest import Manifest, check_manifest_file, differences, make_manifest

    settings = load_profile(profile)
    if check and overwrite:
        raise ValueError("--overwrite is for writing a manifest; --check writes none.")
    if not check:
        check_manifest_file(file, overwrite)
        make_manifest(settings).save(file, overwrite)
        print(f"Written to {file}.")
    else:
        report(differences(Manifest.load(file), settings), f"All images are those of {file}.")


@app.command()
def boxes(
    photos: Annotated[Path | None, Option(help="A folder of own photos; by default DreamBooth's pictures.")] = None,
    profile: Profile = MINIATURE,
) -> None:
    """Let the profile's detector propose a box for every picture without one; correct them in boxes.json."""
    print(f"Reading the pictures{f' in {photos}' if photos else ''} and loading the detector.", flush=True)
    from vwlib.tools.own import box_pictures

    print(box_pictures(load_profile(profile), photos))


@app.command()
def learn(
    images: Annotated[Path, Option(help="A folder of pictures of one thing, perhaps with boxes.json.")],
    anchor: Annotated[str, Option(help="The word to start from: a single token, such as the kind of thing.")],
    name: Annotated[str, Option(help="The thing's name; by default its folder's.")] = "",
    beside: Annotated[str, Option(help="What to tell it from: a dataset, or a folder of folders.")] = "DreamBooth",
    delta: Annotated[float, Option(min=0, help="Radius of the ball around the anchor; 0: unconstrained.")] = 0.0,
    seed: Annotated[int, Option(min=0, max=2**63 - 1, help="Seed of images and noise.")] = 0,
    task: Annotated[list[str] | None, Option(help="Only for this task (repeat for more); by default all.")] = None,
    out: Annotated[Path, Option(help="Words file to add the words to.")] = Path("words.safetensors"),
    profile: Profile = MINIATURE,
) -> None:
    """Learn a word for a thing of your own in each of the three models, and score it in all of them."""
    print(f"Reading the pictures in {images} and loading the models.", flush=True)
    from vwlib.concepts import TASKS
    from vwlib.datasets.photos import with_photos
    from vwlib.tools.own import learn_photos

    beside = str(Path(beside).resolve()) if Path(beside).is_dir() else beside
    settings = with_photos(load_profile(profile), str(images.resolve()), name, beside)
    print(learn_photos(settings, out, anchor, delta, seed, task or TASKS))


@app.command()
def words(
    file: WordsFile = None,
    task: Annotated[str, Option(help="Only words learned for this task.")] = "",
    dataset: Annotated[str, Option(help="Only words of this dataset.")] = "",
    concept: Annotated[str, Option(help="Only words of this concept.")] = "",
    anchor: Annotated[str, Option(help="Only words from this anchor.")] = "",
    delta: Annotated[str, Option(help="Only words within a ball of this radius; free: the unconstrained ones.")] = "",
    csv: Annotated[bool, Option("--csv", help="Comma-separated instead of a table.")] = False,
    profile: Profile = MINIATURE,
    store: Store = None,
) -> None:
    """List the learned words of the bank or of a words file."""
    from vwlib.study.bank import choose_words, words_table

    names = {"task": task, "dataset": dataset, "concept": concept, "anchor": anchor}
    table = words_table(choose_words(words_in(file, profile, store), delta, **names))
    listed = f"{table.to_string(index=False, na_rep='free')}\n{len(table):,} words."
    print(table.to_csv(index=False).rstrip() if csv else listed)


@app.command()
def export(
    word_id: Annotated[str, Argument(help="The word's id, or its beginning; `vwlib words` lists them.")],
    to: Annotated[Path, Option(help="The file, or with --form concept the new folder, to write.")],
    form: Annotated[str, Option(help="diffusers, embedding (web interfaces) or concept (a folder).")] = "diffusers",
    token: Annotated[str, Option(help="What prompts call the word, such as <my-cat>; by default its concept.")] = "",
    transfer: Annotated[bool, Option("--transfer", help="Map another task's word into the generator.")] = False,
    photos: Annotated[Path | None, Option(help="With --form concept: a folder of pictures to publish.")] = None,
    licence: Annotated[str | None, Option("--license", help="With --form concept: mit, cc-by-4.0 ...")] = None,
    overwrite: Overwrite = False,
    file: WordsFile = None,
    profile: Profile = MINIATURE,
    store: Store = None,
) -> None:
    """Write a learned word for other programs; without --overwrite nothing is replaced."""
    from vwlib.study.bank import find_word
    from vwlib.tools.exports import export_word

    word = find_word(words_in(file, profile, store), word_id)
    print(export_word(word, form, to, token, transfer, photos, licence, overwrite))


@app.command()
def convert(folder: Annotated[Path, Argument(help="The folder of a model or of one of its parts.")]) -> None:
    """Write a model's pickled weights as safetensors, the only form that is loaded."""
    from vwlib.tools.weights import convert_folder

    written = convert_folder(folder)
    print("\n".join(f"Written to {file}." for file in written) or f"All weights in {folder} are safetensors already.")


@app.command()
def pretrain(models: Annotated[list[str] | None, Argument(help="Which models; by default all.")] = None) -> None:
    """Train the miniature's models from the drawings, or continue. For maintainers."""
    from vwlib.miniature import export, pretrain

    pretrain.pretrain(models)
    print(f"Written to data/miniature/models: {', '.join(export.export_finished())}.")


@app.command()
def quality() -> None:
    """Measure the miniature's models on test images and write data/miniature/quality.json."""
    import json

    from vwlib.datasets.splits import open_lab
    from vwlib.miniature import quality

    figures = quality.measure(open_lab(load_profile("miniature")))
    print(json.dumps(figures, indent=2))
    for sentence in quality.missed(figures):
        typer.secho(sentence, fg=typer.colors.YELLOW, err=True)


@app.command()
def sprites(node_modules: Annotated[Path, Argument(help="Folder of npm; see data/miniature/LICENSES.md.")]) -> None:
    """Render the miniature's drawings again from the npm packages. For maintainers."""
    from vwlib.miniature.sprites import build_sprites

    print(f"Rendered {len(build_sprites(node_modules))} drawings.")


@app.command()
def lexicon(node_modules: Annotated[Path, Argument(help="Folder of npm; see data/miniature/LICENSES.md.")]) -> None:
    """Write again what can be said of the miniature's nouns, and the tokenizer of all words. For maintainers."""
    from vwlib.miniature.lexicon import build_lexicon
    from vwlib.miniature.statements import vocabulary
    from vwlib.miniature.tokenizer import MERGES, write_merges

    count = build_lexicon(node_modules)
    write_merges(words := vocabulary(), MERGES["second"])
    print(f"Wrote {count} texts; the language has {len(words)} words.")


@app.command()
def example() -> None:
    """Draw data/example, the example of own photos, again. For maintainers."""
    from vwlib.datasets.example import write_example

    print(f"Written to {write_example()}.")
