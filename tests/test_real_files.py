"""Datasets and photos as people have them: every input is accepted whole, or refused in one sentence that names the
file; nothing is lost in silence.
"""

import copy
import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import QUICK, Accepted, annotation, folder, picture, thing
from PIL import Image
from test_reading import ENCODINGS, LINE_ENDS, NAMES

from vwlib.concepts import concepts_of, find_concept
from vwlib.datasets.choose import training_examples
from vwlib.datasets.coco import read_coco
from vwlib.datasets.folders import read_dreambooth, read_photos, read_things
from vwlib.datasets.imagenet import read_imagenet
from vwlib.datasets.pictures import IMAGE_SUFFIXES, list_images, load_image
from vwlib.datasets.voc import read_voc
from vwlib.examples import Pictures
from vwlib.tools.own import add_boxes

COCO, PASCAL = concepts_of("COCO"), concepts_of("PASCAL")
JSON = "instances_train2017.json"
#: Values that stand in files where something else is meant.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 60) | st.sampled_from([10**9, 2**70]),
    st.floats(),
    st.sampled_from(["", " ", "7", "0", "-1", "12.5", "1e999", "true", "False", "cat", "b.png", "../b.png", "a\nb"]),
    st.lists(st.integers(0, 50) | st.none() | st.just("9"), max_size=5),
    st.just({"a": 1}),
)
XML_ODD = st.sampled_from(
    ["0", "1", "-1", "7.5", "1e999", "nan", "True", "false", "maybe", "cat", "Aeroplane", "&amp;", "<b/>", "b.png"]
) | st.sampled_from(["", " ", "\n"])


# --- COCO


def document(count=3):
    """A COCO document of `count` pictures with a laptop each."""
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in range(1, count + 1)
        ],
        "annotations": [
            {"id": 10 * number, "image_id": number, "category_id": 1, "bbox": [2, 3, 20, 10], "iscrowd": 0}
            for number in range(1, count + 1)
        ],
        "categories": [{"id": number, "name": concept.label} for number, concept in enumerate(COCO, 1)],
    }


def coco(root, content, size=(40, 30)):
    """The document as a training set below `root`, read."""
    for number in range(1, 4):
        picture(root / "train2017" / f"{number}.png", size)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / JSON).write_text(json.dumps(content))
    return Accepted(lambda: read_coco(root, COCO, "train"), JSON)


@QUICK
@given(st.data())
def test_one_odd_entry_of_coco_is_refused_or_no_picture_is_lost(data):
    content = document()
    kind = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    entry = content[kind][data.draw(st.integers(0, len(content[kind]) - 1))]
    what = data.draw(st.sampled_from(["change", "remove", "repeat"]))
    key = data.draw(st.sampled_from(sorted(entry)))
    if what == "change":
        entry[key] = data.draw(ODD)
    elif what == "remove":
        del entry[key]
    else:
        content[kind].append(copy.deepcopy(entry))
    with folder() as root:
        found = coco(root, content)
        if not found.sentence:
            paths = {example.path.name for example in found.value}
            assert found.told or sum(len(example.boxes) for example in found.value) == 3
            assert found.told or key == "image_id" or {image["file_name"] for image in content["images"]} == paths


@pytest.mark.parametrize("write", [str, float, int])
def test_ids_are_joined_whether_they_are_text_or_numbers(tmp_path, write):
    content = document()
    for entry in content["annotations"]:
        entry["image_id"], entry["category_id"] = write(entry["image_id"]), write(entry["category_id"])
    content["images"][1]["id"] = "2"
    found = coco(tmp_path, content)
    assert [example.path.name for example in found.value] == ["1.png", "2.png", "3.png"] and not found.told


def test_ids_that_are_words_come_after_numbers_in_order(tmp_path):
    content = document()
    for entry, key in ((content["images"][0], "id"), (content["annotations"][0], "image_id")):
        entry[key] = "first"
    assert [example.path.name for example in coco(tmp_path, content).value] == ["2.png", "3.png", "1.png"]


@pytest.mark.parametrize("crowd", [1, 1.0, True, "1", "true", "True", " 1 "])
def test_a_crowd_is_one_however_it_is_written(tmp_path, crowd):
    content = document()
    content["annotations"].append({"image_id": 1, "category_id": 2, "bbox": [0, 0, 40, 30], "iscrowd": crowd})
    assert coco(tmp_path, content).value[0].ignored_names == ["scissors"]


@pytest.mark.parametrize("crowd", [0, 0.0, False, "0", "false", "", None])
def test_no_crowd_is_none_however_it_is_written(tmp_path, crowd):
    content = document()
    content["annotations"][0]["iscrowd"] = crowd
    assert len(coco(tmp_path, content).value) == 3


@pytest.mark.parametrize("size", [(0, 0), (-1, -1), (None, None), ("", ""), (40, 0), ("absent", "absent")])
def test_a_size_that_is_none_is_the_pictures_own(tmp_path, size):
    content = document()
    for image in content["images"][:2]:
        image["width"], image["height"] = size
        if "absent" in size:
            del image["width"], image["height"]
    content["annotations"][0]["bbox"] = [20, 10, 900, 900]
    found = coco(tmp_path, content, (50, 40))
    assert len(found.value) == 3 and found.value[0].boxes.tolist() == [[20, 10, 50, 40]]


REFUSED = {
    "id": (lambda d: d["images"][1].update(id="1"), "two images have the id 1"),
    "file": (lambda d: d["images"][1].update(file_name="./1.png"), "two images have the file_name '1.png'"),
    "annotation's id": (lambda d: d["annotations"][1].update(id=10), "two annotations have the id 10"),
    "category's id": (lambda d: d["categories"][1].update(id=1), "two categories have the id 1"),
    "file_name": (lambda d: d["images"][1].update(file_name=None), "the image with the id 2 has no file_name"),
    "no id": (lambda d: d["images"][1].pop("id"), "image number 2, which has no id,"),
    "category": (
        lambda d: d["annotations"][1].update(category_id=77),
        "the annotation with the id 20 has the category_id 77",
    ),
    "no box": (lambda d: d["annotations"][1].pop("bbox"), "the annotation with the id 20 has no bbox"),
    "null box": (lambda d: d["annotations"][1].update(bbox=None), "the annotation with the id 20 has no bbox"),
    "empty box": (lambda d: d["annotations"][1].update(bbox=[]), "the annotation with the id 20 has no bbox"),
    "text for a box": (lambda d: d["annotations"][1].update(bbox="1234"), "the annotation with the id 20"),
    "box without end": (
        lambda d: d["annotations"][1].update(bbox=[1e308, 0, 1e308, 1]),
        "the annotation with the id 20",
    ),
    "crowd": (lambda d: d["annotations"][1].update(iscrowd="many"), "the annotation with the id 20 .*'many'"),
    "width without end": (lambda d: d["images"][1].update(width=float("inf")), "the image with the id 2 has a width"),
    "width in words": (lambda d: d["images"][1].update(width="wide"), "the image with the id 2 has a width"),
    "no list": (lambda d: d.update(images={"1": {}}), "is no COCO instances file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_entry_that_means_nothing_is_named(tmp_path, what):
    change, sentence = REFUSED[what]
    change(content := document())
    with pytest.raises(ValueError, match=sentence):
        raise ValueError(coco(tmp_path, content).sentence)


def test_what_is_left_out_of_coco_is_counted_and_named_once(tmp_path, caplog):
    content = document()
    content["annotations"] += [
        {"id": 98, "image_id": 50, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 99, "image_id": 51, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 97, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 0]},
    ]
    (tmp_path / "boxes.json").write_text("{}")
    assert len(coco(tmp_path, content).value) == 3 and len(coco(tmp_path, content).value) == 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "(2)" in said[0] and "with the id 98" in said[0]
    assert "(1)" in said[1] and "1.png" in said[1] and "boxes.json is not read" in said[2]


# --- VOC


def voc(root, xmls, suffix=".jpg", size=(40, 30), lines=None):
    """A devkit below `root` of a picture for each XML, by name, read."""
    devkit = root / "VOCdevkit" / "VOC2012"
    for name, xml in xmls.items():
        picture(devkit / "JPEGImages" / f"{name}{suffix}", size)
        (devkit / "Annotations" / f"{name}.xml").parent.mkdir(parents=True, exist_ok=True)
        (devkit / "Annotations" / f"{name}.xml").write_text(xml)
    (devkit / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (devkit / "ImageSets" / "Main" / "train.txt").write_text("\n".join(lines or xmls))
    return Accepted(lambda: read_voc(root, PASCAL, "train"), str(devkit))


@QUICK
@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.sampled_from(ENCODINGS),
    st.sampled_from(LINE_ENDS),
    st.sampled_from(["", " 1", "  -1", "\t0"]),
)
def test_every_listed_name_of_voc_is_read_whatever_it_is(names, encoding, end, score):
    with folder() as root:
        voc(root, dict.fromkeys(names, annotation(thing())))
        (root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "train.txt").write_bytes(
            end.join(name + score for name in names).encode(encoding)
        )
        found = Accepted(lambda: read_voc(root, PASCAL, "train"), "train.txt")
        taken = {f"{name}{score}" for name in names} & set(names)  # then a line may be the name of another picture
        assert taken or [example.path.stem for example in found.value] == names


@QUICK
@given(
    st.sampled_from(["name", "difficult", "width", "height", "xmin", "ymax", "bndbox", "size", "object", "filename"]),
    st.data(),
)
def test_one_odd_tag_of_voc_is_refused_or_no_picture_is_lost(tag, data):
    whole = annotation(thing(more="<difficult>0</difficult>"), more="").replace(
        "<size>", "<filename>b.jpg</filename><size>"
    )
    before, _, rest = whole.partition(f"<{tag}>")
    inside, _, after = rest.partition(f"</{tag}>")
    odd = data.draw(
        st.sampled_from(["", f"<{tag}/>", f"<{tag}>{inside}</{tag}>" * 2])
        | XML_ODD.map(lambda text: f"<{tag}>{text}</{tag}>")
    )
    with folder() as root:
        found = voc(root, {"a": annotation(thing("cat")), "b": before + odd + after})
        if found.sentence:
            assert "b.xml" in found.sentence or "b.jpg" in found.sentence
        else:
            # An object of another name is a picture of another class, and no object is a picture of nothing.
            named = tag == "name" or (tag == "object" and "</bndbox>" not in odd)
            assert {"a.jpg"} <= {example.path.name for example in found.value} | {"b.jpg" if named else ""}
            assert named or len(found.value) == 2 or "b.jpg" in found.told


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".PNG", ".webp", ".bmp", ".gif", ".tif"])
def test_pictures_of_voc_may_have_any_suffix(tmp_path, suffix):
    found = voc(tmp_path, {"a.b": annotation(thing())}, suffix)
    assert found.value[0].path.name == f"a.b{suffix}" and training_examples(found.value, "airplane", 1)[
        0
    ].image().size == (40, 30)


def test_of_several_pictures_of_a_name_vocs_own_counts_or_the_one_it_names(tmp_path):
    xml = annotation(thing(), more="")
    assert voc(tmp_path, {"a": xml}, ".png").value and "several pictures" in voc(tmp_path, {"a": xml}, ".webp").sentence
    named = xml.replace("<size>", "<filename>C:\\mine\\a.webp</filename><size>")
    assert voc(tmp_path, {"a": named}, ".webp").value[0].path.name == "a.webp"
    assert voc(tmp_path, {"a": named}, ".jpg").value[0].path.name == "a.jpg"
    other = xml.replace("<size>", "<filename>c.png</filename><size>")
    picture(tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / "c.png")
    assert voc(tmp_path, {"b": other}, ".txt.png").value[0].path.name == "c.png"
    assert "two annotations have the picture" in voc(tmp_path, {"b": other, "d": other}, ".txt.png").sentence


@pytest.mark.parametrize("name", ["aeroplane", "airplane", "Aeroplane", " AIRPLANE\n"])
def test_classes_are_called_as_voc_or_as_the_book_calls_them(tmp_path, name):
    assert [example.names for example in voc(tmp_path, {"a": annotation(thing(name))}).value] == [["airplane"]]


@pytest.mark.parametrize(
    ("flag", "difficult"), [("1", True), ("True", True), (" true ", True), ("0", False), ("False", False), ("", False)]
)
def test_difficult_is_read_however_it_is_written(tmp_path, flag, difficult):
    other = thing("cat", (1, 1, 40, 30), f"<difficult>{flag}</difficult>")
    (example,) = voc(tmp_path, {"a": annotation(thing() + other)}).value
    assert (example.ignored_names == ["cat"]) == difficult


def test_a_set_of_difficult_objects_alone_says_so(tmp_path):
    assert "are difficult" in voc(tmp_path, {"a": annotation(thing(more="<difficult>True</difficult>"))}).sentence


SIZES = [
    "",
    "<size/>",
    "<size><width/><height/></size>",
    "<size><width>0</width><height>0</height></size>",
    "<size><width>-1</width><height> </height></size>",
]


@pytest.mark.parametrize("size", SIZES)
def test_a_size_that_is_empty_is_the_pictures_own(tmp_path, size):
    (example,) = voc(tmp_path, {"a": annotation(thing(edges=(1, 2, 99, 99)), size)}, size=(50, 40)).value
    assert example.boxes.tolist() == [[0, 1, 50, 40]]


def test_a_namespace_and_a_byte_order_mark_change_nothing(tmp_path):
    assert (
        len(voc(tmp_path, {"a": "\ufeff" + annotation(thing(), more=' xmlns="http://x/y" xmlns:z="urn:z"')}).value) == 1
    )


WRONG = {
    "no bndbox": (thing().replace("bndbox>", "robndbox>"), "the object 'aeroplane' has no <bndbox>"),
    "two boxes": (thing().replace("</bndbox>", "</bndbox><bndbox/>"), "several <bndbox>"),
    "no name": (thing().replace("name>", "label>"), "an object has no <name>"),
    "no edge": (thing().replace("<xmin>1</xmin>", ""), "the <xmin> of the object 'aeroplane'"),
    "odd flag": (thing(more="<difficult>rather</difficult>"), "'rather' is neither 0 nor 1"),
    "deeper": (f"<objects>{thing()}</objects>", "has no <object> directly below it"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_tag_that_is_missing_is_named(tmp_path, what):
    objects, sentence = WRONG[what]
    found = voc(tmp_path, {"a": annotation(objects)})
    assert sentence in found.sentence and "a.xml" in found.sentence


def test_lines_of_a_list_are_names_before_they_are_scores(tmp_path):
    xmls = dict.fromkeys(("my photo 1", "other", "third"), annotation(thing()))
    found = voc(tmp_path, xmls, lines=["my photo 1", "other  -1", "third.jpg"])
    assert [example.path.stem for example in found.value] == list(xmls)
    assert "two lines have the name 'other'" in voc(tmp_path, xmls, lines=["other", "other 1"]).sentence
    assert "my photo 2.xml is missing" in voc(tmp_path, xmls, lines=["my photo 2"]).sentence


# --- ImageNet


def imagenet(root, xml, size=(40, 30), suffix=".xml"):
    strawberry = find_concept("strawberry", "ImageNet")
    picture(root / "train" / strawberry.label / "a.JPEG", size)
    file = root / "Annotations" / "CLS-LOC" / "train" / strawberry.label / f"a{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    if xml:
        file.write_text(xml)
    return Accepted(lambda: read_imagenet(root, [strawberry], "train"), "a.")


def test_imagenets_xml_may_be_of_a_scaled_copy_but_not_of_another_picture(tmp_path):
    xml = annotation(thing("n07745940", (2, 3, 20, 15)))
    assert np.allclose(imagenet(tmp_path, xml, (400, 297)).value[0].boxes, [[20, 29.7, 200, 148.5]])
    assert "a.JPEG is 30 × 40 px, but its annotation is for 40 × 30 px" in imagenet(tmp_path, xml, (30, 40)).sentence
    assert imagenet(tmp_path, annotation(thing("strawberry")), suffix=".XML").value[0].names == ["strawberry"]


def test_imagenets_pictures_without_xml_take_boxes_from_the_file(tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps({"train/n07745940/a.JPEG": [[1, 2, 30, 20]]}))
    assert imagenet(tmp_path, "").value[0].boxes.tolist() == [[1, 2, 30, 20]]


# --- boxes.json, styles.json


@pytest.mark.parametrize("name", ["./00.png", "00.png", ".\\00.png", ".//00.png"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_boxes_by_hand_count_however_their_file_names_the_picture(tmp_path, name, encoding):
    picture(tmp_path / "00.png")
    (tmp_path / "boxes.json").write_bytes(json.dumps({name: [[1, 2, "30", 20]]}).encode(encoding))
    examples = read_photos(tmp_path)
    assert examples[0].boxes.tolist() == [[1, 2, 30, 20]]
    assert add_boxes(tmp_path, {examples[0].path: [0, 0, 9, 9]}) == 0
    assert json.loads((tmp_path / "boxes.json").read_text()) == {"00.png": [[1, 2, 30, 20]]}


@QUICK
@given(
    st.recursive(
        ODD,
        lambda more: (
            st.lists(more, max_size=4)
            | st.dictionaries(st.sampled_from(["a.png", "./a.png", "b.png", ""]), more, max_size=2)
        ),
    )
)
def test_whatever_boxes_and_styles_hold_is_read_or_one_sentence(content):
    with folder() as root:
        for name in ("0.png", "1.png"):
            picture(root / "dataset" / "clock" / name)
        picture(root / "a.png")
        for file in ("boxes.json", "styles.json"):
            (root / file).write_text(json.dumps(content))
            concepts = [find_concept("clock", "DreamBooth")]
            Accepted(lambda concepts=concepts: read_dreambooth(root, concepts, "train"), file)
            if file == "boxes.json":
                found = Accepted(lambda: read_photos(root, "thing"), file)
                rows = (
                    [row for rows in content.values() for row in rows]
                    if isinstance(content, dict) and not found.sentence
                    else []
                )
                assert found.sentence or len(found.value[0].boxes) == len(rows)
                boxes = {example.path: [0, 0, 9, 9] for example in found.value or []}
                Accepted(lambda boxes=boxes: add_boxes(root, boxes), file)
            (root / file).unlink()


@pytest.mark.parametrize(
    "content",
    [
        '{"a.png": [[1,2,3,4]], "./a.png": [[1,2,9,9]]}',
        '{"a.png": [[1,2,3,4]], "a.png": []}',
        '{"notes.txt": [[1,2,3,4]]}',
    ],
)
def test_boxes_that_would_be_lost_are_refused(tmp_path, content):
    picture(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "boxes.json").write_text(content)
    assert Accepted(lambda: read_photos(tmp_path), "boxes.json").sentence


@pytest.mark.parametrize("place", ["", "dataset", "dataset/clock"])
def test_boxes_lie_in_the_datasets_folder_or_on_the_way_to_the_picture(tmp_path, place, caplog):
    for name in ("0.png", "1.png"):
        path = picture(tmp_path / "dataset" / "clock" / name)
        other = picture(tmp_path / "mugs" / "mug" / name)
    (tmp_path / place / "boxes.json").write_text(
        json.dumps({(path.parent / "0.png").relative_to(tmp_path / place).as_posix(): [[1, 2, 30, 20]]})
    )
    (example,) = read_dreambooth(tmp_path, [find_concept("clock", "DreamBooth")], "train")
    assert example.boxes.tolist() == [[1, 2, 30, 20]]
    (other.parents[1] / "boxes.json").write_text('{"mug/0.png": [[1, 2, 3, 4]]}')
    picture(other.parents[1] / "loose.png")
    assert read_things(tmp_path / "mugs", "train")[0].boxes.tolist() == [[1, 2, 3, 4]]
    assert "loose.png" in caplog.records[-1].getMessage()


def test_two_files_that_disagree_about_a_picture_are_refused(tmp_path):
    for name in ("0.png", "1.png"):
        picture(tmp_path / "dataset" / "clock" / name)
    (tmp_path / "boxes.json").write_text('{"dataset/clock/0.png": [[1, 2, 3, 4]]}')
    (tmp_path / "dataset" / "clock" / "boxes.json").write_text('{"0.png": [[1, 2, 9, 9]]}')
    sentence = Accepted(
        lambda: read_dreambooth(tmp_path, [find_concept("clock", "DreamBooth")], "train"), "boxes.json"
    ).sentence
    assert "different boxes to 0.png" in sentence


def test_boxes_above_a_folder_of_photos_are_told(tmp_path, caplog):
    picture(tmp_path / "dataset" / "mug" / "0.png")
    (tmp_path / "boxes.json").write_text('{"dataset/mug/0.png": [[1, 2, 3, 4]]}')
    assert not len(read_photos(tmp_path / "dataset" / "mug")[0].boxes)
    assert "boxes.json has boxes for pictures in" in caplog.records[0].getMessage()


@pytest.mark.parametrize("content", ["[]", '{"a.png": 3}', '"flat"', "null"])
def test_styles_that_are_no_list_by_picture_are_refused(tmp_path, content):
    for name in ("0.png", "1.png"):
        picture(tmp_path / "clock" / name)
    (tmp_path / "styles.json").write_text(content)
    assert Accepted(
        lambda: read_dreambooth(tmp_path, [find_concept("clock", "DreamBooth")], "train"),
        "styles.json is no list of styles",
    ).sentence


# --- folders of photos


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".HEIC", ".JFIF", ".Tif"])
def test_pictures_of_every_suffix_are_read(tmp_path, suffix):
    formats = {".jfif": "JPEG", ".jpe": "JPEG", ".heic": "HEIF", ".heif": "HEIF", ".tif": "TIFF", ".avif": "AVIF"}
    kind = formats.get(suffix.lower())
    picture(tmp_path / f"a{suffix}", **({"format": kind} if kind else {}))
    (example,) = read_photos(tmp_path)
    assert (
        example.image().size == (40, 30)
        and np.abs(np.asarray(example.image())[5, 5].astype(int) - (0, 128, 128)).max() < 16
    )


def test_a_picture_is_read_by_its_content_and_not_by_its_suffix(tmp_path):
    picture(tmp_path / "heic.jpg", format="HEIF")
    picture(tmp_path / "gif.png", format="GIF")
    assert [example.image().size for example in read_photos(tmp_path)] == [(40, 30)] * 2


def test_what_is_no_picture_is_counted_and_named_once(tmp_path, caplog):
    picture(tmp_path / "a.png")
    for name in ("IMG_0.MOV", "IMG_1.MOV", "notes.txt", "z.aae", ".hidden", "boxes.json", "styles.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "more").mkdir()
    picture(tmp_path / "dir.png" / "b.png")
    assert [example.path.name for example in (*read_photos(tmp_path), *read_photos(tmp_path))] == ["a.png"] * 2
    (record,) = caplog.records
    assert record.getMessage().endswith("(6): IMG_0.MOV, IMG_1.MOV, dir.png/ and 3 more.")


@QUICK
@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from([".png", ".PNG", ".txt", ".mov", ""])).map("".join),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_every_file_of_a_folder_is_a_picture_or_told(names):
    with folder() as root:
        for name in names:
            (root / name).write_bytes(b"")
        found = Accepted(lambda: list_images(root), str(root))
        pictures = sorted(name for name in names if name.lower().endswith(".png"))
        assert [path.name for path in found.value or []] == pictures
        others = len(names) - len(pictures)
        assert not pictures or (f"{others} file" in found.told if others else not found.told)


def test_a_link_without_a_picture_and_a_pipe_do_not_hang(tmp_path):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "c.png"]
    for name, kind in (("b.png", ValueError), ("c.png", FileNotFoundError), ("", ValueError)):
        with pytest.raises(kind):
            load_image(tmp_path / name)


# --- pictures


@QUICK
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "HEIF"]),
    st.integers(0, 10_000),
    st.binary(max_size=6),
    st.booleans(),
)
def test_broken_pictures_are_read_or_one_sentence(kind, place, content, cut):
    with folder() as root:
        whole = picture(root / "a.png", format=kind).read_bytes()
        place %= len(whole)
        (root / "a.png").write_bytes(whole[:place] + content + (b"" if cut else whole[place + len(content) :]))
        found = Accepted(lambda: load_image(root / "a.png"), "a.png")
        assert found.sentence or found.value.mode == "RGB"


@pytest.mark.parametrize("size", [(20_000, 10), (1, 5_000), (30_000, 30_000), (13_000, 13_000)])
def test_pictures_of_extreme_shapes_are_one_sentence_before_they_are_read(tmp_path, size):
    picture(tmp_path / "a.png", (1, 1))
    whole = bytearray((tmp_path / "a.png").read_bytes())
    whole[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(whole)
    assert "px" in Accepted(lambda: load_image(tmp_path / "a.png"), "a.png").sentence


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_pictures_turned_by_exif_have_the_size_that_is_seen(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / f"a{suffix}", exif=exif)
    seen = load_image(tmp_path / f"a{suffix}").size
    (tmp_path / "boxes.json").write_text(json.dumps({f"a{suffix}": [[0, 0, 99, 99]]}))
    assert read_photos(tmp_path)[0].boxes.tolist() == [[0, 0, *seen]] and seen == (
        (30, 40) if orientation > 4 else (40, 30)
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pictures_are_put_on_white_as_a_whole(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(
        0, 256, (600, 30, 4), dtype=np.uint8
    )  # more rows than are put on white at once
    stored = Image.fromarray(pixels).convert(mode)
    stored.save(tmp_path / "a.png", **({"transparency": 3} if mode == "P" else {}))
    with Image.open(tmp_path / "a.png") as file:
        whole = file.convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.png")), np.asarray(white))


def test_numbers_of_16_bits_are_read_in_either_order_and_of_32_refused(tmp_path):
    grey = np.full((3, 4), 128 * 257, np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    Image.frombytes("I;16B", (4, 3), grey.astype(">u2").tobytes()).save(tmp_path / "b.tif")
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "c.tif")
    assert (
        load_image(tmp_path / "a.tif").getpixel((0, 0))
        == load_image(tmp_path / "b.tif").getpixel((0, 0))
        == (128, 128, 128)
    )
    with pytest.raises(ValueError, match=r"c\.tif .*32 bits"):
        load_image(tmp_path / "c.tif")


def test_pictures_are_read_when_they_are_asked_for(tmp_path):
    for number in range(3):
        picture(tmp_path / f"{number}.png", (40 + number, 30))
    pictures = Pictures(read_photos(tmp_path))
    (tmp_path / "0.png").unlink()
    assert len(pictures) == 3 and [image.width for image in pictures[1:]] == [41, 42] and pictures[-1].width == 42
    with pytest.raises(FileNotFoundError):
        list(pictures)
