"""Learned words for other programs: diffusers, the web interfaces that read embeddings, and a folder to publish.

All three write safetensors. A pickle, which older programs read, may run code when it is loaded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from safetensors.numpy import save

from vwlib.datasets.pictures import list_images
from vwlib.examples import load_image
from vwlib.files import check_target, check_writable, kind_of, write_whole, writing_folder
from vwlib.models.loading import digest_folder, resolve
from vwlib.settings import load_profile
from vwlib.words import Word, load_words

if TYPE_CHECKING:
    from torch import Tensor

EMBEDS = "learned_embeds.safetensors"  # the name that diffusers looks for in a folder
FORMATS = ("diffusers", "embedding", "concept")
#: What a folder to publish holds, beside pictures in a folder of their own: nothing else is removed when it is
#: replaced.
CARD, TOKEN_FILE, KIND_FILE, PICTURES = "README.md", "token_identifier.txt", "type_of_concept.txt", "concept_images"


def generation_vectors(word: Word, transfer: bool = False) -> Tensor:
    """A word's vectors (vector, d) for the generator's word table: its own, or with `transfer` those of another task's
    word, carried there (equation 3).

    Raises ValueError for a word of another task without `transfer`, and for one of a model with other weights than the
    one at hand.
    """
    if word.task == "generation":
        return word.vectors
    if not transfer:
        told = f"this one was learned for {word.task}; `--transfer` (transfer=True) carries it into the generator."
        raise ValueError(f"Only a generation word can be loaded into a Stable Diffusion pipeline; {told}")
    import torch

    from vwlib.study.compat import carry

    profile = load_profile(word.profile)
    if digest_folder(profile.model_of(word.task).source) != word.model:
        raise ValueError(
            f"The word {word.word_id} was learned in a {word.task} model with other weights than the one of profile '{word.profile}' here."
        )
    return carry(profile, torch.as_tensor(word.vectors), word.task, "generation")


def token_for(word: Word) -> str:
    """What a word is called in prompts unless one says otherwise: its concept in angle brackets, in small letters
    without accents.

    A concept in other letters than Latin cannot be told by what is left of it: the beginning of the word's id is added.
    """
    letters = "".join(
        letter for letter in unicodedata.normalize("NFKD", word.concept) if not unicodedata.combining(letter)
    ).lower()
    name = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")
    is_told = name and all(letter.isascii() for letter in letters if letter.isalnum())
    return f"<{name}>" if is_told else f"<{name or 'word'}-{word.word_id[:8]}>"


def check_token(token: str) -> str:
    """A token that no vocabulary has and every tokenizer leaves whole, such as `<my-cat>`.

    Raises ValueError for any other: diffusers refuses a token that the vocabulary has, and does not find one with
    capitals or spaces again.
    """
    if not re.fullmatch(r"<[a-z0-9._-]+>", token) or re.search(r"_\d+>$", token):
        raise ValueError(
            f"'{token}' cannot be a word's token: write small letters, digits and hyphens in angle brackets, as in <my-cat>."
        )
    return token


def check_licence(licence: str) -> str:
    """An identifier as the hub writes licences.

    Raises ValueError for anything else.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise ValueError(
            f"'{licence}' is no identifier of a licence; write it as the hub does, such as mit or cc-by-4.0."
        )
    return licence


def export_textual_inversion(
    word: Word, token: str, path: Path, transfer: bool = False, overwrite: bool = False
) -> None:
    """Write a word as `learned_embeds.safetensors`, which diffusers' `load_textual_inversion` reads: the single key
    `token` with the vectors (vector, d).

    Raises ValueError as `generation_vectors` and `check_token` do, and for a name without .safetensors; and where the
    file cannot be written, as `vwlib.files.check_target` does.
    """
    check_token(token)
    if path.suffix != ".safetensors" and kind_of(path) != "folder":
        raise ValueError(
            f"'{path.name}' does not end in .safetensors, as the file does that is written; name it so, such as {path / EMBEDS}."
        )
    _check_file(word, path, overwrite)
    write_whole(path, _packed(token, generation_vectors(word, transfer)), overwrite)


def export_embedding(word: Word, path: Path, transfer: bool = False, overwrite: bool = False) -> None:
    """Write a word as an embedding of Stable Diffusion 1 or 2 for AUTOMATIC1111's web interface and ComfyUI: the single
    key `emb_params`.

    Both call the word by its file's name, ComfyUI as `embedding:NAME`. Raises ValueError as `generation_vectors` does,
    and for a name that they cannot read; and where the file cannot be written, as `vwlib.files.check_target` does.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+\.safetensors", path.name) and kind_of(path) != "folder":
        raise ValueError(
            f"'{path.name}' cannot name an embedding, which prompts call by its file's name: it must end in .safetensors and have no spaces."
        )
    _check_file(word, path, overwrite)
    write_whole(path, _packed("emb_params", generation_vectors(word, transfer)), overwrite)


def export_concept(
    word: Word,
    token: str,
    folder: Path,
    photos: Sequence[Path] = (),
    licence: str | None = None,
    transfer: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a word as a folder of the sd-concepts-library: card, `learned_embeds.safetensors`, `token_identifier.txt`,
    `type_of_concept.txt`.

    Copies of `photos` go to `concept_images`. `licence` is an identifier of the hub's, such as "mit"; whose pictures
    they are decides it. With `overwrite` an earlier export is replaced. Raises ValueError as `generation_vectors`,
    `check_token` and `check_licence` do, and FileExistsError where the folder is there and may not be replaced.
    """
    check_token(token)
    if licence is not None:
        check_licence(licence)
    _check_folder(folder, photos, overwrite)
    packed, pictures = _packed(token, generation_vectors(word, transfer)), [load_image(path) for path in photos]
    with writing_folder(folder, overwrite) as new:
        (new / EMBEDS).write_bytes(packed)
        (new / TOKEN_FILE).write_text(token, encoding="utf-8")
        (new / KIND_FILE).write_text("object", encoding="utf-8")
        (new / CARD).write_text(concept_card(word, token, len(pictures), licence), encoding="utf-8")
        for number, picture in enumerate(pictures):
            (new / PICTURES).mkdir(exist_ok=True)
            picture.save(new / PICTURES / f"{number}.jpeg", quality=95)


def _check_file(word: Word, path: Path, overwrite: bool) -> None:
    """That an export may be written there: never over learned words, of which an export keeps no origin, or over a
    model.
    """
    profile = load_profile(word.profile)
    models = [resolve(settings.source) for settings in (profile.generator, profile.model_of(word.task))]
    if kind_of(path) == "file" and _holds_words(path):
        raise FileExistsError(
            f"{path} holds learned words with their origin, which an export never replaces; name another file."
        )
    check_target(path, overwrite, models, EMBEDS)


def _holds_words(path: Path) -> bool:
    try:
        return bool(load_words(path, "np"))
    except ValueError:
        return False


def _check_folder(folder: Path, photos: Sequence[Path], overwrite: bool) -> None:
    """That a folder to publish may be written there: a new one or, with `overwrite`, one that holds an earlier export
    and nothing else.
    """
    kind = kind_of(folder)
    if kind == "nothing":
        check_writable(folder.resolve().parent)
        return
    if kind != "folder":
        raise FileExistsError(f"{folder} is {'a file' if kind == 'file' else kind}; name a new folder.")
    if not overwrite:
        raise FileExistsError(
            f"{folder} exists already; name a new folder, or replace an earlier export with `--overwrite` (overwrite=True)."
        )
    if read := [photo for photo in photos if photo.resolve().is_relative_to(folder.resolve())]:
        raise FileExistsError(f"{folder} holds {read[0].name}, which is read; name another folder.")
    if stranger := next((path for path in folder.iterdir() if not _is_exported(path)), None):
        raise FileExistsError(
            f"{folder} holds {stranger.name}, which no export writes, and is not replaced; name a new folder."
        )
    if not (folder / EMBEDS).exists() or _holds_words(folder / EMBEDS):
        raise FileExistsError(f"{folder} holds no {EMBEDS} of an export, and is not replaced; name a new folder.")


def _is_exported(path: Path) -> bool:
    """Whether an export writes such a file or folder."""
    if path.name == PICTURES:
        return (
            kind_of(path) == "folder"
            and not path.is_symlink()
            and all(re.fullmatch(r"\d+\.jpeg", picture.name) for picture in path.iterdir())
        )
    return path.name in (EMBEDS, CARD, TOKEN_FILE, KIND_FILE) and kind_of(path) == "file"


def concept_card(word: Word, token: str, photos: int = 0, licence: str | None = None) -> str:
    """The card of a published word: front matter as the hub reads it, how to load the word, where it comes from."""
    hub = load_profile(word.profile).generator.hub
    front: dict[str, object] = {
        "license": licence,
        "base_model": hub,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
    }
    front |= {"tags": ["stable-diffusion", "text-to-image", "textual_inversion"]}
    model = hub or "the small generator of the Visual Words miniature"
    origin = (
        ""
        if word.task == "generation"
        else f" It was learned for {word.task} and carried into the generator by a linear map between the two word tables."
    )
    lines = [
        "---",
        yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False).strip(),
        "---",
        "",
    ]
    lines += [
        f"# {word.concept}",
        "",
        f"`{token}` is a word of {len(word.vectors)} vectors for {model}: learned by textual inversion.{origin}",
        "",
    ]
    lines += [
        "```python",
        'pipeline.load_textual_inversion("FOLDER")  # this one',
        f'pipeline("{word.prompt.format(token)}").images[0]',
        "```",
        "",
    ]
    lines += [f"![{word.concept} {number}](concept_images/{number}.jpeg)" for number in range(photos)]
    lines += [""] * bool(photos) + ["| | |", "|---|---|", f"| word_id | {word.word_id} |"]
    lines += [f"| {name} | {'none' if value is None else value} |" for name, value in word.provenance.items()]
    return "\n".join(lines) + "\n"


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
    """Write a word in one of `FORMATS`, and say how it is used there.

    Raises ValueError for an unknown form and for what its form has no use for, and otherwise as the three exports do.
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


def _packed(key: str, vectors: Tensor) -> bytes:
    """Vectors, of torch or numpy, as the content of a safetensors file."""
    return save({key: np.ascontiguousarray(np.asarray(vectors), dtype=np.float32)})
