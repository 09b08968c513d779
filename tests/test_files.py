"""Files appear whole or not at all, and nothing that is there is lost."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vwlib import files
from vwlib.files import write_whole, writing_folder, writing_to
from vwlib.miniature.world import ensure_world
from vwlib.study.targets import check_target, check_writable, kind_of

#: Names of files as no program forbids them: any characters but the two that no name can have.
NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=90)
FOLDER_OF_TEST = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def things(tmp_path: Path) -> dict[str, Path]:
    """One of each thing that a path can name."""
    there = {
        name: tmp_path / name
        for name in ("file", "folder", "link", "link to folder", "dead link", "loop", "pipe", "socket")
    }
    there["file"].write_text("old")
    there["folder"].mkdir()
    there["link"].symlink_to(there["file"])
    there["link to folder"].symlink_to(there["folder"])
    there["dead link"].symlink_to(tmp_path / "nowhere")
    there["loop"].symlink_to(there["loop"])
    os.mkfifo(there["pipe"])
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(there["socket"]))
    return there | {"device": Path("/dev/null"), "below a file": there["file"] / "x"}


def test_a_path_is_what_its_link_leads_to(things):
    kinds = {name: kind_of(path) for name, path in things.items() if name != "loop"}
    files_, folders = ("file", "link"), ("folder", "link to folder")
    assert kinds == (
        dict.fromkeys(files_, "file")
        | dict.fromkeys(folders, "folder")
        | dict.fromkeys(("pipe", "socket", "device"), "special file")
        | {"dead link": "dead link", "below a file": "nothing"}
    )
    for wrong, error in ((things["loop"], OSError), (Path("a\0b"), ValueError)):
        with pytest.raises(error):
            kind_of(wrong)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name", ["folder", "link to folder", "dead link", "loop", "pipe", "socket", "device", "below a file"]
)
def test_only_a_file_can_be_written(name, overwrite, things, tmp_path):
    before = names_in(tmp_path)
    with pytest.raises((OSError, ValueError)) as caught:
        check_target(things[name], overwrite)
    assert "\n" not in str(caught.value) and names_in(tmp_path) == before


def test_a_file_that_is_there_is_replaced_when_asked_only(things, tmp_path):
    check_target(tmp_path / "new" / "deep" / "file")
    assert not (tmp_path / "new").exists(), "looking makes nothing"
    for name in ("file", "link"):
        with pytest.raises(FileExistsError, match="overwrite"):
            check_target(things[name])
        check_target(things[name], overwrite=True)


def test_a_source_is_never_replaced_however_it_is_called(things, tmp_path):
    source = things["file"]
    os.link(source, tmp_path / "second name")
    for other in (source, things["link"], tmp_path / "second name", things["folder"] / ".." / "file"):
        with pytest.raises(FileExistsError, match="not overwritten"):
            check_target(other, overwrite=True, sources=[source])
    (things["folder"] / "in").write_text("")
    for other in (things["folder"] / "in", things["link to folder"] / "in"):
        with pytest.raises(FileExistsError, match="not overwritten"):
            check_target(other, overwrite=True, sources=[things["link to folder"], tmp_path / "missing"])


def test_what_a_link_leads_to_is_written_and_the_link_stays(things):
    write_whole(things["link"], b"new")
    assert things["link"].is_symlink() and things["file"].read_bytes() == b"new"


def test_a_file_that_came_meanwhile_is_kept(things, tmp_path, monkeypatch):
    for can_link in (True, False):
        if not can_link:  # as on a memory stick
            monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError))
        with pytest.raises(FileExistsError, match="not replaced"):
            write_whole(things["file"], b"new", overwrite=False)
        write_whole(tmp_path / f"fresh {can_link}", b"new", overwrite=False)
        assert (tmp_path / f"fresh {can_link}").read_bytes() == b"new"
    assert things["file"].read_text() == "old" and not [name for name in names_in(tmp_path) if "partial" in name]


@given(name=NAMES, content=st.binary(max_size=20), overwrite=st.booleans())
@FOLDER_OF_TEST
def test_any_name_is_written_or_refused_and_nothing_is_left_beside(name, content, overwrite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    try:
        check_target(folder / name, overwrite)
        write_whole(folder / name, content, overwrite)
    except (OSError, ValueError) as error:
        assert len(str(error).splitlines()) <= 1 or len(name.splitlines()) > 1
        assert names_in(folder) == set()
    else:
        assert (folder / name).read_bytes() == content and names_in(folder) == {name}


def test_a_full_or_forbidden_place_is_named(things, tmp_path, monkeypatch):
    for place in (things["file"] / "deep", Path("/proc/nothing")):
        for look in (check_writable, lambda folder: write_whole(folder / "x", b"")):
            with pytest.raises(OSError, match=f"{place} cannot be written to"):
                look(place)
    with pytest.raises(OSError, match="VWLIB_CACHE") as caught, monkeypatch.context() as patch:
        patch.setattr(files, "CACHE", things["file"])
        ensure_world(things["file"] / "datasets")
    assert "\n" not in str(caught.value)
    with pytest.raises(OSError, match="No space left"), writing_to(tmp_path):
        raise OSError(28, "No space left on device")


def test_a_folder_is_replaced_whole_when_asked_only(things, tmp_path):
    (things["folder"] / "old").write_text("")
    with pytest.raises(FileExistsError, match="folder"), writing_folder(things["folder"]):
        pytest.fail("begun")
    with pytest.raises(RuntimeError), writing_folder(things["folder"], overwrite=True) as new:
        (new / "half").write_text("")
        raise RuntimeError
    assert names_in(things["folder"]) == {"old"}
    with writing_folder(things["link to folder"], overwrite=True) as new:
        (new / "new").write_text("")
    assert names_in(things["folder"]) == {"new"} and things["link to folder"].is_symlink()
    with writing_folder(tmp_path / "fresh", overwrite=True) as new:
        (new / "new").write_text("")
    assert names_in(tmp_path / "fresh") == {"new"} and not [
        name for name in names_in(tmp_path) if name.endswith((".partial", ".old"))
    ]
