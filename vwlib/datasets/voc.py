"""PASCAL VOC 2012, and the XML of VOC that ImageNet uses too."""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vwlib.concepts import Concept
from vwlib.datasets.pictures import IMAGE_SUFFIXES, FolderIndex, is_picture_name
from vwlib.datasets.reading import name_some, picture_name, read_flag, read_lines, read_number, read_size, read_xml
from vwlib.datasets.source import AnnotatedObject, Source, files_split, find_folder, refuse_repeated
from vwlib.examples import Example


def read_voc(root: Path, concepts: Sequence[Concept], split: str) -> list[Example]:
    """PASCAL VOC 2012: train is `ImageSets/Main/train.txt`, test is `val.txt` (VOC's own test set is not public).

    A line of the list is a name, perhaps with a suffix and VOC's score (-1, 0 or 1). The label is the class of the
    largest box; images whose largest box shows no concept are left out. Difficult objects go to `ignored_boxes` and do
    not count for the label. Parts of objects (`<part>`) are not read.
    """
    part = files_split(split)
    devkit = find_folder(root, "no VOC devkit", "VOCdevkit/VOC2012", "VOC2012", ".", holding="ImageSets/Main")
    source = Source("PASCAL", root, concepts)
    listing = devkit / "ImageSets" / "Main" / f"{part}.txt"
    annotations = FolderIndex(devkit / "Annotations", (".xml",))
    pictures = FolderIndex(devkit / "JPEGImages", IMAGE_SUFFIXES)
    examples: list[Example | None] = []
    paths: list[Path] = []
    for stem in _listed_names(listing, annotations):
        file = annotations.find(stem)[0]
        size, objects, filename = read_annotation(file, first=1)
        paths.append(_picture_of(pictures, stem, filename, file))
        examples.append(source.example(paths[-1], objects, size))
    refuse_repeated(listing, "annotations", map(str, paths), "picture")
    return source.checked(examples, listing)


def _listed_names(listing: Path, annotations: FolderIndex) -> list[str]:
    """The names of a VOC list. They may have blanks: a line ends in a score only if no annotation has its whole name.

    Raises FileNotFoundError for a name without annotation, ValueError for one that is repeated or leaves the folder.
    """
    names = []
    for line in read_lines(listing):
        name = picture_name(listing, line, annotations.folder)
        scored = picture_name(listing, re.sub(r"\s+(-1|0|1)$", "", line), annotations.folder)
        suffixed = [one for one in (name, scored) if is_picture_name(one) or one.lower().endswith(".xml")]
        candidates = (name, scored, *(os.path.splitext(one)[0] for one in suffixed))
        found = next((one for one in candidates if annotations.find(one)), None)
        if found is None:
            raise FileNotFoundError(f"The annotation file {annotations.folder / f'{scored}.xml'} is missing.")
        names.append(found)
    refuse_repeated(listing, "lines", names, "name")
    return names


def _picture_of(pictures: FolderIndex, stem: str, filename: str, file: Path) -> Path:
    """The picture of an annotation `file`: the only one of its name, otherwise the one that it names.

    Raises ValueError if that is ambiguous. A missing picture is refused when it is opened.
    """
    found = pictures.find(stem)
    if len(found) == 1:
        return found[0]
    usual = pictures.folder / f"{stem}.jpg"
    if usual in found:
        return usual
    named = usual.parent / PurePosixPath(filename.replace("\\", "/")).name
    if is_picture_name(named.name) and os.path.isfile(named):
        return named
    if found:
        several = name_some([path.name for path in found])
        raise ValueError(f"{file}: there are several pictures of that name ({several}); its <filename> must name one.")
    return usual


def read_annotation(path: Path, first: int = 0) -> tuple[tuple[int, int] | None, list[AnnotatedObject], str]:
    """Size (width, height), objects and picture's name of an annotation in VOC's XML.

    `first` is the index of the first pixel: 1 for VOC, with inclusive corners, 0 for ImageNet, with edges. Raises
    FileNotFoundError for a missing file, and ValueError for a missing or invalid tag.
    """
    annotation = read_xml(path)
    try:
        size = read_size([annotation.findtext(f"size/{side}") for side in ("width", "height")])
        things = annotation.findall("object")
        if not things and (annotation.tag != "annotation" or next(annotation.iter("object"), None) is not None):
            raise ValueError(f"its <{annotation.tag}> has no <object> directly below it")
        objects = [_read_object(thing, first) for thing in things]
    except ValueError as error:
        raise ValueError(f"{path} is no valid annotation ({error}).") from error
    return size, objects, (annotation.findtext("filename") or "").strip()


def _read_object(thing: ET.Element, first: int) -> AnnotatedObject:
    """An `<object>`, its corners in order. Raises ValueError if something is missing or invalid."""
    label = (thing.findtext("name") or "").strip()
    if not label:
        raise ValueError("an object has no <name>")
    if len(boxes := thing.findall("bndbox")) != 1:
        raise ValueError(f"the object '{label}' has {'several' if boxes else 'no'} <bndbox>")
    edges = {}
    for edge in ("xmin", "ymin", "xmax", "ymax"):
        try:
            edges[edge] = read_number(boxes[0].findtext(edge))
        except ValueError as error:
            raise ValueError(f"the <{edge}> of the object '{label}': {error}") from error
    left, right = sorted((edges["xmin"], edges["xmax"]))
    top, bottom = sorted((edges["ymin"], edges["ymax"]))
    return AnnotatedObject(label, (left - first, top - first, right, bottom), read_flag(thing.findtext("difficult")))
