"""Learned words as safetensors for other programs: diffusers, web interfaces for embeddings, a folder to publish."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from safetensors.numpy import save

from vwlib.datasets.pictures import list_images, load_image
from vwlib.files import write_whole, writing_folder
from vwlib.models.loading import resolve
from vwlib.settings import load_profile
from vwlib.study.digest import digest_folder
from vwlib.study.targets import check_target, check_writable, kind_of
from vwlib.words import Word, load_words

if TYPE_CHECKING:
    from torch import Tensor

EMBEDS = "learned_embeds.safetensors"  # the name that diffusers looks for in a folder
FORMATS = ("diffusers", "embedding", "concept")
#: The content of a folder to publish; a folder with anything else is not replaced.
CARD, TOKEN_FILE, KIND_FILE, PICTURES = "README.md", "token_identifier.txt", "type_of_concept.txt", "concept_images"


def generation_vectors(word: Word, transfer: bool = False) -> Tensor:
    """A word's vectors (vector, d) for the generator: its own, or with `transfer` mapped there (equation 3).

    Raises ValueError for another task's word without `transfer`, or if it was learned in a model of other weights.
    """
    if word.task == "generation":
        return word.vectors
    if not transfer:
        advice = "`--transfer` (transfer=True) maps it into the generator"
        raise ValueError(f"This word was learned for {word.task}, not for a Stable Diffusion pipeline; {advice}.")
    import torch

    from vwlib.datasets.splits import open_lab

    profile = load_profile(word.profile)
    if digest_folder(profile.models[word.task].source) != word.model:
        problem = f"in a {word.task} model with other weights than that of profile '{word.profile}' here"
        raise ValueError(f"The word {word.word_id} was learned {problem}.")
    return open_lab(profile).transfer(torch.as_tensor(word.vectors), word.task, "generation")


def token_for(word: Word) -> str:
    """A word's default token: its concept in angle brackets, in lower case without accents.

    If letters that are not Latin are lost, the beginning of the word's id is added.
    """
    plain = unicodedata.normalize("NFKD", word.concept)
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter)).lower()
    name = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")
    complete = name and all(letter.isascii() for letter in letters if letter.isalnum())
    return f"<{name}>" if complete else f"<{name or 'word'}-{word.word_id[:8]}>"


def check_token(token: str) -> str:
    """The token itself, such as `<my-cat>`, which no vocabulary contains and every tokenizer leaves whole.

    Raises ValueError otherwise: diffusers refuses a known token, and does not find one with capitals or spaces again.
    """
    if not re.fullmatch(r"<[a-z0-9._-]+>", token) or re.search(r"_\d+>$", token):
        advice = "write small letters, digits and hyphens in angle brackets, as in <my-cat>"
        raise ValueError(f"'{token}' cannot be a word's token: {advice}.")
    return token


def check_licence(licence: str) -> str:
    """The hub's identifier of a licence. Raises ValueError for anything else."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise ValueError(f"'{licence}' is no licence as the hub writes it, such as mit or cc-by-4.0.")
    return licence


def export_textual_inversion(
    word: Word, token: str, path: Path, transfer: bool = False, overwrite: bool = False
) -> None:
    """Write a word for diffusers' `load_textual_inversion`: the single key `token` with the vectors (vector, d).

    Raises ValueError for a name without .safetensors, and as `generation_vectors`, `check_token` and
    `vwlib.study.targets.check_target` do.
    """
    check_token(token)
    if path.suffix != ".safetensors" and kind_of(path) != "folder":
        raise ValueError(f"'{path.name}' must end in .safetensors; name the file, say, {path / EMBEDS}.")
    _write_vectors(word, token, path, transfer, overwrite)


def export_embedding(word: Word, path: Path, transfer: bool = False, overwrite: bool = False) -> None:
    """Write a word for AUTOMATIC1111's web interface and ComfyUI: the single key `emb_params`.

    Prompts call the word by its file's name. Raises ValueError for a name that the programs cannot read, and as
    `generation_vectors` and `vwlib.study.targets.check_target` do.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+\.safetensors", path.name) and kind_of(path) != "folder":
        reason = "prompts call it by its file's name, which must end in .safetensors and have no spaces"
        raise ValueError(f"'{path.name}' cannot name an embedding: {reason}.")
    _write_vectors(word, "emb_params", path, transfer, overwrite)


def export_concept(
    word: Word,
    token: str,
    folder: Path,
    photos: Sequence[Path] = (),
    licence: str | None = None,
    transfer: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a word as a folder of the sd-concepts-library, with copies of `photos` and their `licence`, such as "mit".

    Raises ValueError as `generation_vectors`, `check_token` and `check_licence` do, and FileExistsError for an existing
    folder, except an earlier export with `overwrite`.
    """
    check_token(token)
    if licence is not None:
        check_licence(licence)
    _check_folder(folder, photos, overwrite)
    packed, pictures = _packed(token, generation_vectors(word, transfer)), [load_image(path) for path in photos]
    with writing_folder(folder, overwrite) as new:
        (new / EMBEDS).write_bytes(packed)
        (new / TOKEN_FILE).write_text(token)
        (new / KIND_FILE).write_text("object")
        (new / CARD).write_text(concept_card(word, token, len(pictures), licence), encoding="utf-8")
        for number, picture in enumerate(pictures):
            (new / PICTURES).mkdir(exist_ok=True)
            picture.save(new / PICTURES / f"{number}.jpeg", quality=95)


def _write_vectors(word: Word, key: str, path: Path, transfer: bool, overwrite: bool) -> None:
    """Write one key of vectors, but never over learned words, whose origin an export does not keep, or over a model."""
    profile = load_profile(word.profile)
    models = [resolve(settings.source) for settings in (profile.generator, profile.models[word.task])]
    if kind_of(path) == "file" and _holds_words(path):
        raise FileExistsError(f"{path} holds learned words, which an export never replaces; name another file.")
    check_target(path, overwrite, models, EMBEDS)
    write_whole(path, _packed(key, generation_vectors(word, transfer)), overwrite)


def _packed(key: str, vectors: Tensor) -> bytes:
    """Vectors, of torch or numpy, as the content of a safetensors file."""
    return save({key: np.ascontiguousarray(np.asarray(vectors), dtype=np.float32)})


def _holds_words(path: Path) -> bool:
    try:
        return bool(load_words(path, "np"))
    except ValueError:
        return False


def _check_folder(folder: Path, photos: Sequence[Path], overwrite: bool) -> None:
    """Raise FileExistsError unless the folder is new or, with `overwrite`, an earlier export and nothing else."""
    kind = kind_of(folder)
    if kind == "nothing":
        check_writable(folder.resolve().parent)
        return
    read = next((photo.name for photo in photos if photo.resolve().is_relative_to(folder.resolve())), None)
    if kind != "folder":
        problem = f"is {'a file' if kind == 'file' else kind}"
    elif not overwrite:
        problem = "exists already; replace an earlier export with `--overwrite` (overwrite=True)"
    elif read:
        problem = f"holds {read}, which is read"
    elif stranger := next((path for path in folder.iterdir() if not _is_exported(path)), None):
        problem = f"holds {stranger.name}, which no export writes"
    elif not (folder / EMBEDS).exists() or _holds_words(folder / EMBEDS):
        problem = f"holds no {EMBEDS} of an export"
    else:
        return
    raise FileExistsError(f"{folder} {problem}. Name a new folder.")


def _is_exported(path: Path) -> bool:
    """Whether it is a file or folder that an export writes."""
    if path.name != PICTURES:
        return path.name in (EMBEDS, CARD, TOKEN_FILE, KIND_FILE) and kind_of(path) == "file"
    pictures = path.iterdir() if kind_of(path) == "folder" and not path.is_symlink() else [path]
    return all(re.fullmatch(r"\d+\.jpeg", picture.name) for picture in pictures)


def concept_card(word: Word, token: str, photos: int = 0, licence: str | None = None) -> str:
    """The card of a published word: front matter as the hub reads it, how to load the word, where it comes from."""
    hub = load_profile(word.profile).generator.hub
    template = jinja2.Template((Path(__file__).parent / "concept_card.md.j2").read_text(encoding="utf-8"))
    return template.render(word=word, token=token, licence=licence, hub=hub, photos=photos) + "\n"


def export_word(
    word: Word,
    form: str,
    path: Path,
    token: str = "",
    transfer: bool = False,
    photos: Path | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> str:
    """Write a word in one of `FORMATS`, and return a notice of how to use it.

    Raises ValueError for an unknown form and for options of another form, and as the three exports do.
    """
    if form not in FORMATS:
        raise ValueError(f"'{form}' is no form of a word; choose from {', '.join(FORMATS)}.")
    for option, given in (("--license", licence is not None), ("--photos", photos is not None)):
        if given and form != "concept":
            raise ValueError(f"{option} is for --form concept; --form {form} has no use for it.")
    if token and form == "embedding":
        raise ValueError("--token is for --form diffusers and concept; prompts call an embedding by its file's name.")
    token = token or token_for(word)
    if form == "diffusers":
        export_textual_inversion(word, token, path, transfer, overwrite)
        used = f'pipeline.load_textual_inversion("{path}"), then {token} in a prompt'
    elif form == "embedding":
        export_embedding(word, path, transfer, overwrite)
        used = f"copy it to the embeddings folder; prompts call it {path.stem}, in ComfyUI embedding:{path.stem}"
    else:
        export_concept(word, token, path, list_images(photos) if photos else [], licence, transfer, overwrite)
        used = f"its card is {path / CARD}, and {token} its token"
    return f"Written to {path}: {used}."
