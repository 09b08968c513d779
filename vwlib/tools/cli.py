"""The command line: each command imports what it needs and calls one function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """Errors meant for the user are one line and exit code 1; VWLIB_DEBUG=1 shows where they come from."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, MemoryError, ModuleNotFoundError, FloatingPointError, RuntimeError) as error:
            # Of the last kind is also a GPU whose memory ran out, by name: importing torch for it would slow every
            # command down.
            if os.environ.get("VWLIB_DEBUG") or (
                isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError"
            ):
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


@app.command()
def book(
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Execute only this chapter (repeat for more); the others stay as last executed."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Chapters executed at a time; 0: one a core, at most four, and one on GPUs.")
    ] = 0,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only say whether the built pages may be published: exit code 1 where anything has changed."
        ),
    ] = False,
) -> None:
    """Execute the chapters that changed and build the book into _build/html."""
    from vwlib.book.build import build_book, find_stale, make_ready

    if check:
        stale = find_stale(profile)
        print("\n".join(stale) or "The pages in _build/html are those of the present sources, library and data.")
        raise typer.Exit(1 if stale else 0)
    os.environ["VWLIB_PROFILE"] = profile  # the chapters' kernels inherit it
    make_ready(profile)
    print(f"The book is in {os.path.relpath(build_book(profile, only, jobs=jobs or None))}.")


@app.command()
def links(
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
) -> None:
    """Ask every address that the executed chapters link to whether it is there; needs a network. Exit code 1 where one
    is not.
    """
    from vwlib.book.build import check_links

    dead = check_links(profile)
    print("\n".join(dead) or "Every address that the book links to is there.")
    raise typer.Exit(1 if dead else 0)


@app.command()
def study(
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Local processes (which need the extra 'grid'), on GPUs one each; 0 computes in this one."
        ),
    ] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running Dask scheduler, such as tcp://host:8786.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the results and words; by default where the profile's study is kept.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Learn the words again that diverged.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say what is done, missing and failed.")] = False,
    estimate: Annotated[
        float | None,
        typer.Option(
            help="Only say what the study takes on machines this many times as fast as the measured one, as many as --workers."
        ),
    ] = None,
) -> None:
    """Learn and score every word of the profile's study; whatever is finished already is kept."""
    from vwlib.settings import load_profile
    from vwlib.study import progress
    from vwlib.study.bank import results_root
    from vwlib.study.store import Store

    settings = load_profile(profile)
    root = (store or results_root(settings)).resolve()
    if status:
        print(progress.status(settings, Store(settings, root)))
    elif estimate is not None:
        print(progress.estimate(settings, Store(settings, root), estimate, max(workers, 1)))
    else:
        from vwlib.study import run as runner  # brings the models' libraries along, which take seconds to import

        print(runner.run_study(settings, root, workers=workers, scheduler=scheduler, retry_failed=retry_failed))


@app.command()
def experiments(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which tables, by name; all of them if none is named.")
    ] = None,
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the results and words; by default where the profile's study is kept.")
    ] = None,
    status: Annotated[
        bool,
        typer.Option(
            "--status", help="Only say which tables are stored, missing, damaged or made from something else."
        ),
    ] = False,
) -> None:
    """Compute the tables of the experiments beside the study, which needs to be finished; whatever is finished already
    is kept.
    """
    from vwlib.experiments import EXPERIMENTS, choose, run
    from vwlib.experiments import status as status_of
    from vwlib.settings import load_profile
    from vwlib.study.bank import results_root

    settings, chosen = load_profile(profile), choose(EXPERIMENTS, names or [])
    root = (store or results_root(settings)).resolve()
    if not status:
        run(settings, chosen, root)
    for row in status_of(settings, chosen, root).to_dict("records"):
        print(f"{row['table']:<22} {row['state']:<22} {row['rows']:>8,} rows  {row['is']}")


@app.command()
def claims(
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the results and words; by default where the profile's study is kept.")
    ] = None,
) -> None:
    """Judge the paper's claims on the stored tables of the study and the experiments, and write the verdicts to
    claims.json.
    """
    from vwlib.book.pages.ledger import for_file, in_words
    from vwlib.experiments import read_tables
    from vwlib.experiments.schemas import SCHEMAS
    from vwlib.ledger.judge import judge_claims, verdict_counts, write_claims
    from vwlib.settings import load_profile
    from vwlib.study.bank import results_root

    root = (store or results_root(load_profile(profile))).resolve()
    judged = in_words(judge_claims(read_tables(profile, root), SCHEMAS, profile))
    for column, rules in (("verdict", ""), ("first_verdict", " by the first rules")):
        print(
            ", ".join(f"{count} {verdict}" for verdict, count in verdict_counts(judged, column).items()) + f"{rules}."
        )
    print(f"Written to {write_claims(for_file(judged), profile, root)}.")


@app.command()
def doctor(
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
    checksums: Annotated[
        bool, typer.Option(help="Compare the weights with the originals' checksums (reads them once).")
    ] = True,
) -> None:
    """Say what is ready for a run and what is missing: devices, weights, datasets. Exit code 1 where something is
    missing.
    """
    from vwlib.settings import load_profile
    from vwlib.tools.doctor import examine

    report = examine(load_profile(profile), checksums=checksums)
    print(report.text())
    raise typer.Exit(0 if report.ready else 1)


@app.command()
def manifest(
    file: Annotated[Path, typer.Argument(help="The manifest, a json file.")],
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
    check: Annotated[
        bool, typer.Option("--check", help="Compare the images at hand with the manifest instead of writing it.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier manifest.")] = False,
) -> None:
    """Write down which images a profile trains and tests on, with their checksums, or find out which differ."""
    from vwlib.settings import load_profile
    from vwlib.study.manifest import Manifest, check_manifest_file, differences, make_manifest

    settings = load_profile(profile)
    if check and overwrite:
        raise ValueError("--overwrite is for writing a manifest; --check writes none.")
    if not check:
        check_manifest_file(file, overwrite)
        make_manifest(settings).save(file, overwrite)
        print(f"Written to {file}.")
    elif found := differences(Manifest.load(file), settings):
        print("\n".join(found))
        raise typer.Exit(1)
    else:
        print(f"All images are those of {file}.")


@app.command()
def boxes(
    photos: Annotated[
        Path | None,
        typer.Option(help="A folder of own photos, named after the thing they show; without it DreamBooth's pictures."),
    ] = None,
    profile: Annotated[
        str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper: whose detector proposes.")
    ] = "miniature",
) -> None:
    """Let the detector propose a box for every picture without one, and add them to boxes.json for a person to correct."""
    print(
        f"Reading the pictures{f' in {photos}' if photos else ''} and loading the detector.", flush=True
    )  # which takes a while

    from vwlib.datasets.boxes import box_pictures
    from vwlib.settings import load_profile

    print(box_pictures(load_profile(profile), photos))


@app.command()
def learn(
    images: Annotated[Path, typer.Option(help="A folder with some pictures of one thing, perhaps with boxes.json.")],
    anchor: Annotated[
        str, typer.Option(help="The word to start from, a single token, say the kind of thing that it is.")
    ],
    name: Annotated[str, typer.Option(help="What the thing is called; by default as its folder is.")] = "",
    beside: Annotated[
        str,
        typer.Option(
            help="What it is told from: one of the four datasets, or a folder with a folder of pictures for each thing."
        ),
    ] = "DreamBooth",
    delta: Annotated[
        float,
        typer.Option(min=0, help="Radius of the ball around the anchor, in neighbour distances; 0: unconstrained."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of images and noise.")] = 0,
    task: Annotated[
        list[str] | None, typer.Option(help="Learn only for this task (repeat for more); by default for all three.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Words file to add the words to; it is made where it is not there.")] = Path(
        "words.safetensors"
    ),
    profile: Annotated[str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper.")] = "miniature",
) -> None:
    """Learn a word for a thing of your own in each of the three models, and score it in all of them."""
    print(f"Reading the pictures in {images} and loading the models.", flush=True)  # which takes a while

    from vwlib.datasets.photos import with_photos
    from vwlib.models import TASKS
    from vwlib.settings import load_profile
    from vwlib.tools.own import learn_photos

    beside = str(Path(beside).resolve()) if Path(beside).is_dir() else beside
    settings = with_photos(load_profile(profile), str(images.resolve()), name, beside)
    print(learn_photos(settings, out, anchor, delta, seed, task or TASKS))


@app.command()
def words(
    file: Annotated[
        Path | None, typer.Option("--words", help="A words file; by default the bank of the profile's study.")
    ] = None,
    task: Annotated[str, typer.Option(help="Only words learned for this task.")] = "",
    dataset: Annotated[str, typer.Option(help="Only words of this dataset.")] = "",
    concept: Annotated[str, typer.Option(help="Only words of this concept.")] = "",
    anchor: Annotated[str, typer.Option(help="Only words from this anchor.")] = "",
    delta: Annotated[
        str, typer.Option(help="Only words within a ball of this radius; free: the unconstrained ones.")
    ] = "",
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated instead of a table.")] = False,
    profile: Annotated[
        str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper: whose bank.")
    ] = "miniature",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the results and words; by default where the profile's study is kept.")
    ] = None,
) -> None:
    """List the learned words of the bank or of a words file."""
    from vwlib.study.bank import words_at
    from vwlib.words import choose_words, read_delta, words_table

    _one_place(file, store)
    table = words_table(
        choose_words(words_at(file, profile, store, "np"), task, dataset, concept, anchor, read_delta(delta))
    )
    print(
        table.to_csv(index=False).rstrip()
        if csv
        else f"{table.to_string(index=False, na_rep='free')}\n{len(table):,} words."
    )


@app.command()
def export(
    word_id: Annotated[
        str, typer.Argument(help="The word's id, or as much of it as no other begins with; `vwlib words` lists them.")
    ],
    to: Annotated[Path, typer.Option(help="The file, or with --form concept the new folder, to write.")],
    form: Annotated[
        str,
        typer.Option(
            help="diffusers, embedding (AUTOMATIC1111's web interface, ComfyUI) or concept (a folder to publish)."
        ),
    ] = "diffusers",
    token: Annotated[
        str, typer.Option(help="What prompts call the word, such as <my-cat>; by default its concept.")
    ] = "",
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Carry a word of the detector or the classifier into the generator.")
    ] = False,
    photos: Annotated[
        Path | None, typer.Option(help="With --form concept: a folder of pictures to publish with the word.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="With --form concept: the hub's identifier of the licence.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export; learned words and models never.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--words", help="A words file; by default the bank of the profile's study.")
    ] = None,
    profile: Annotated[
        str, typer.Option(envvar="VWLIB_PROFILE", help="smoke, miniature or paper: whose bank.")
    ] = "miniature",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the results and words; by default where the profile's study is kept.")
    ] = None,
) -> None:
    """Write a learned word for other programs. Nothing that is there is replaced without --overwrite."""
    from vwlib.study.bank import words_at
    from vwlib.tools.exports import export_word
    from vwlib.words import find_word

    _one_place(file, store)
    word = find_word(words_at(file, profile, store, "np"), word_id)
    print(export_word(word, form, to, token, transfer, photos, licence, overwrite))


def _one_place(file: Path | None, store: Path | None) -> None:
    """That words are looked for in one place only."""
    if file and store:
        raise ValueError(
            "--store is for the bank of a profile's study; --words names a file to read instead. Give one of the two."
        )


@app.command()
def convert(
    folder: Annotated[
        Path, typer.Argument(help="A model's folder, such as that of a whole pipeline or of one of its parts.")
    ],
) -> None:
    """Write a model's pickled weights as safetensors, the only form that is loaded. What is safetensors already stays
    as it is.
    """
    from vwlib.models.loading import convert_folder

    written = convert_folder(folder)
    print("\n".join(f"Written to {file}." for file in written) or f"All weights in {folder} are safetensors already.")


@app.command()
def pretrain(
    models: Annotated[
        list[str] | None, typer.Argument(help="Which models, by name; all of them if none is named.")
    ] = None,
) -> None:
    """Train the miniature's models from the drawings; resumes where it was stopped. For maintainers: the weights are in
    the repository.
    """
    from vwlib.miniature import export, pretrain

    pretrain.pretrain(models)
    print(f"Written to data/miniature/models: {', '.join(export.export_finished())}.")


@app.command()
def quality() -> None:
    """Measure the miniature's models on test images and write data/miniature/quality.json."""
    import json

    from vwlib.miniature import quality

    figures = quality.measure()
    print(json.dumps(figures, indent=2))
    for sentence in quality.missed(figures):
        typer.secho(sentence, fg=typer.colors.YELLOW, err=True)


@app.command()
def lock() -> None:
    """Write the versions of the packages that the pinned ones bring along to versions.lock. For maintainers, after new
    versions are pinned.
    """
    from vwlib.tools.lock import write_lock

    print(f"Written to {write_lock()}.")


@app.command()
def sprites(
    node_modules: Annotated[
        Path, typer.Argument(help="The folder that `npm install` filled; see data/miniature/LICENSES.md.")
    ],
) -> None:
    """Render the drawings again from the npm packages. For maintainers: they are in the repository."""
    from vwlib.miniature.sprites import build_sprites

    table = build_sprites(node_modules)
    print(f"Rendered {len(table)} drawings.")


@app.command()
def example() -> None:
    """Draw the example of own photos again, data/example. For maintainers: it is in the repository."""
    from vwlib.miniature.example import write_example

    print(f"Written to {write_example()}.")


if __name__ == "__main__":
    app(prog_name="vwlib")
