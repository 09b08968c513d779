"""Learned words for other programs: diffusers, the web interfaces that read embeddings, and a folder to publish.

All three write safetensors. A pickle, which older programs read, may run code when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from safetensors.torch import save
from torch import Tensor

from vwlib.datasets import list_images, load_image
from vwlib.files import write_whole, writing_folder
from vwlib.models.loading import digest_folder
from vwlib.profiles import load_profile
from vwlib.study import carry
from vwlib.words import Word

EMBEDS = "learned_embeds.safetensors"  # the name that diffusers looks for in a folder
FORMATS = ("diffusers", "embedding", "concept")


def generation_vectors(word: Word, transfer: bool = False) -> Tensor:
    """A word's vectors (vector, d) for the generator's word table: its own, or with `transfer` those of another task's word, carried there (equation 3).

    Raises ValueError for a word of another task without `transfer`, and for one of a model with other weights than the one at hand.
    """
    if word.task == "generation":
        return word.vectors
    if not transfer:
        told = f"this one was learned for {word.task}; `--transfer` (transfer=True) carries it into the generator."
        raise ValueError(f"Only a generation word can be loaded into a Stable Diffusion pipeline; {told}")
    profile = load_profile(word.profile)
    if digest_folder(profile.model_of(word.task).source) != word.model:
        raise ValueError(f"The word {word.word_id} was learned in a {word.task} model with other weights than the one of profile '{word.profile}' here.")
    return carry(profile, word.vectors, word.task, "generation")


def token_for(word: Word) -> str:
    """What a word is called in prompts unless one says otherwise: its concept in angle brackets."""
    return f"<{re.sub(r'[^a-z0-9]+', '-', word.concept.lower()).strip('-') or 'word'}>"


def check_token(token: str) -> str:
    """A token that no vocabulary has and every tokenizer leaves whole, such as `<my-cat>`.

    Raises ValueError for any other: diffusers refuses a token that the vocabulary has, and does not find one with capitals or spaces again.
    """
    if not re.fullmatch(r"<[a-z0-9._-]+>", token) or re.search(r"_\d+>$", token):
        raise ValueError(f"'{token}' cannot be a word's token: write small letters, digits and hyphens in angle brackets, as in <my-cat>.")
    return token


def export_textual_inversion(word: Word, token: str, path: Path, transfer: bool = False) -> None:
    """Write a word as `learned_embeds.safetensors`, which diffusers' `load_textual_inversion` reads: the single key `token` with the vectors (vector, d).

    Raises ValueError as `generation_vectors` and `check_token` do.
    """
    write_whole(path, _packed(check_token(token), generation_vectors(word, transfer)))


def export_embedding(word: Word, path: Path, transfer: bool = False) -> None:
    """Write a word as an embedding of Stable Diffusion 1 or 2 for AUTOMATIC1111's web interface and ComfyUI: the single key `emb_params`.

    Both call the word by its file's name, ComfyUI as `embedding:NAME`. Raises ValueError as `generation_vectors` does, and for a name that they cannot read.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+\.safetensors", path.name):
        raise ValueError(f"'{path.name}' cannot name an embedding, which prompts call by its file's name: it must end in .safetensors and have no spaces.")
    write_whole(path, _packed("emb_params", generation_vectors(word, transfer)))


def export_concept(word: Word, token: str, folder: Path, photos: Sequence[Path] = (), licence: str | None = None, transfer: bool = False) -> None:
    """Write a word as a folder of the sd-concepts-library: card, `learned_embeds.safetensors`, `token_identifier.txt`, `type_of_concept.txt`.

    Copies of `photos` go to `concept_images`. `licence` is an identifier of the hub's, such as "mit"; whose pictures they are decides it.
    Raises ValueError as `generation_vectors` and `check_token` do, and FileExistsError where the folder is there.
    """
    check_token(token)
    packed, pictures = _packed(token, generation_vectors(word, transfer)), [load_image(path) for path in photos]
    with writing_folder(folder) as new:
        (new / EMBEDS).write_bytes(packed)
        (new / "token_identifier.txt").write_text(token)
        (new / "type_of_concept.txt").write_text("object")
        (new / "README.md").write_text(concept_card(word, token, len(pictures), licence))
        for number, picture in enumerate(pictures):
            (new / "concept_images").mkdir(exist_ok=True)
            picture.save(new / "concept_images" / f"{number}.jpeg", quality=95)


def concept_card(word: Word, token: str, photos: int = 0, licence: str | None = None) -> str:
    """The card of a published word: front matter as the hub reads it, how to load the word, where it comes from."""
    hub = load_profile(word.profile).generator.hub
    front: dict[str, object] = {"license": licence, "base_model": hub, "library_name": "diffusers", "pipeline_tag": "text-to-image"}
    front |= {"tags": ["stable-diffusion", "text-to-image", "textual_inversion"]}
    model = hub or "the small generator of the Visual Words miniature"
    origin = "" if word.task == "generation" else f" It was learned for {word.task} and carried into the generator by a linear map between the two word tables."
    lines = ["---", yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False).strip(), "---", ""]
    lines += [f"# {word.concept}", "", f"`{token}` is a word of {len(word.vectors)} vectors for {model}: learned by textual inversion.{origin}", ""]
    lines += ["```python", 'pipeline.load_textual_inversion("FOLDER")  # this one', f'pipeline("{word.prompt.format(token)}").images[0]', "```", ""]
    lines += [f"![{word.concept} {number}](concept_images/{number}.jpeg)" for number in range(photos)]
    lines += [""] * bool(photos) + ["| | |", "|---|---|", f"| word_id | {word.word_id} |"]
    lines += [f"| {name} | {'none' if value is None else value} |" for name, value in word.provenance.items()]
    return "\n".join(lines) + "\n"


def export_word(word: Word, form: str, path: Path, token: str = "", transfer: bool = False, photos: Path | None = None, licence: str | None = None) -> str:
    """Write a word in one of `FORMATS`, and say how it is used there.

    Raises ValueError for an unknown form, and otherwise as the three exports do.
    """
    token = token or token_for(word)
    if form == "diffusers":
        export_textual_inversion(word, token, path, transfer)
        used = f'pipeline.load_textual_inversion("{path}"), then {token} in a prompt'
    elif form == "embedding":
        export_embedding(word, path, transfer)
        used = f"copy it to the embeddings folder; prompts call it {path.stem}, in ComfyUI embedding:{path.stem}"
    elif form == "concept":
        export_concept(word, token, path, list_images(photos) if photos else [], licence, transfer)
        used = f"its card is {path / 'README.md'}, and {token} its token"
    else:
        raise ValueError(f"'{form}' is no form of a word; choose from {', '.join(FORMATS)}.")
    return f"Written to {path}: {used}."


def _packed(key: str, vectors: Tensor) -> bytes:
    return save({key: vectors.float().contiguous().clone()})
