"""Text, JSON and XML in every encoding and with every line end; whatever cannot be read is one sentence."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import QUICK, Accepted, folder

from vwlib.datasets.reading import name_some, picture_name, read_json, read_lines, read_text, read_xml, tell

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
LINE_ENDS = ("\n", "\r\n", "\r")
#: Letters of many alphabets, digits and what stands between them in names.
NAMES = st.text(st.characters(categories=["L", "N"], include_characters=" .-_()"), min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and name[0] not in ".-"
)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-le", "utf-16-be", "utf-32"])
def test_text_is_read_in_every_encoding_of_unicode(tmp_path, encoding):
    file = tmp_path / "a.txt"
    file.write_bytes('{"a": "кот é"}'.encode(encoding))
    assert read_text(file) == '{"a": "кот é"}' and read_json(file) == {"a": "кот é"}


@QUICK
@given(st.lists(NAMES, max_size=5), st.sampled_from(ENCODINGS), st.sampled_from(LINE_ENDS))
def test_lines_come_back_whatever_their_encoding_and_ends(names, encoding, end):
    with folder() as root:
        (root / "list.txt").write_bytes((end.join([*names, "", "  "])).encode(encoding))
        assert read_lines(root / "list.txt") == names


@QUICK
@given(
    st.binary(max_size=60)
    | st.binary(max_size=20).map(lambda more: b"\xff\xfe" + more)
    | st.binary(max_size=20).map(lambda more: b"<a>" + more)
)
def test_any_bytes_are_text_json_or_xml_or_one_sentence(content):
    with folder() as root:
        (root / "a.file").write_bytes(content)
        for read in (read_text, read_lines, read_json, read_xml):
            Accepted(lambda read=read: read(root / "a.file"), "a.file")


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5_000, '{"a": 1, "a": 2}', "nothing", ""])
def test_json_without_end_or_with_a_name_twice_is_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"a\.json is no valid JSON \("):
        read_json(tmp_path / "a.json", unique=True)


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16", "utf-8"),
        ("gbk", "gbk"),
        ("latin-1", "ISO-8859-1"),
        ("utf-8", "utf-16"),
        ("utf-8", ""),
    ],
)
def test_xml_is_read_as_its_first_line_or_its_first_bytes_say(tmp_path, encoding, declared):
    told, name = f'encoding="{declared}"' if declared else "", "猫" if encoding == "gbk" else "é"
    (tmp_path / "a.xml").write_bytes(
        f'<?xml version="1.0" {told}?>\r\n<annotation xmlns="urn:x"><name>{name}</name></annotation>'.encode(encoding)
    )
    root = read_xml(tmp_path / "a.xml")
    assert root.tag == "annotation" and root.findtext("name") == name


@pytest.mark.parametrize("declared", ["klingon", "rot13", "zlib", "idna"])
def test_an_encoding_that_is_none_is_one_sentence(tmp_path, declared):
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{declared}"?><a>\u00e9</a>'.encode())
    assert Accepted(lambda: read_xml(tmp_path / "a.xml"), "a.xml is no valid annotation").sentence


def test_what_is_missing_no_file_or_may_not_have_such_a_name_is_told(tmp_path):
    for name in ("none.txt", "x" * 300 + ".txt", "a\0b.txt"):
        with pytest.raises(FileNotFoundError, match=r"is missing\.$"):
            read_text(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"link is missing\.$"):
        read_text(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")  # which would be waited for without end
    for name in ("", "pipe"):
        with pytest.raises(ValueError, match="is no file that can be read"):
            read_text(tmp_path / name)


def test_names_of_pictures_are_written_in_one_way(tmp_path):
    file = tmp_path / "boxes.json"
    assert {
        picture_name(file, name, tmp_path) for name in ("a/b.png", "./a/b.png", "a//b.png", "a\\b.png", ".\\a\\b.png")
    } == {"a/b.png"}
    (tmp_path / "a\\b.png").touch()
    assert picture_name(file, "a\\b.png", tmp_path) == "a\\b.png"
    for name in ("../a.png", "/a.png", "a\\..\\..\\b.png", "C:a.png", "C:\\a.png", "\\\\host\\a.png"):
        with pytest.raises(ValueError, match=r"boxes\.json names a picture outside the dataset"):
            picture_name(file, name, tmp_path)


def test_a_notice_is_given_once_and_names_a_few(caplog):
    tell("Three are left out.")
    tell("Three are left out.")
    assert [record.getMessage() for record in caplog.records] == ["Three are left out."]
    assert (
        name_some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
        and name_some(["a"]) == "a"
        and json.dumps(name_some([])) == '""'
    )
