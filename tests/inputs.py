"""What tests of readers share: made-up pictures, and the rule that an input is accepted or refused in one sentence."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from PIL import Image

from vwlib.datasets import reading

QUICK = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def picture(path, size=(40, 30), colour="teal", **options):
    """A picture of one colour at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def text(path, content):
    """A text file at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def thing(name="aeroplane", edges=(1, 2, 30, 20), more=""):
    """An object of VOC's XML; `edges` are xmin, ymin, xmax, ymax."""
    tags = zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    corners = "".join(f"<{edge}>{value}</{edge}>" for edge, value in tags)
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def annotation(objects, size="<size><width>40</width><height>30</height></size>", more=""):
    """An annotation of VOC's XML."""
    return f"<annotation{more}>{size}{objects}</annotation>"


class Accepted:
    """What came of reading something: its value or, if it was refused, the sentence, and what was logged."""

    def __init__(self, read, named):
        before, self.value, self.sentence = set(reading._TOLD), None, ""
        try:
            self.value = read()
        except (ValueError, FileNotFoundError) as error:
            self.sentence = str(error)
            assert named in self.sentence and len(self.sentence.splitlines()) == 1, self.sentence
        self.told = " ".join(sorted(reading._TOLD - before))


def folder():
    """A new folder, which is gone at the end of a `with`."""
    return _Folder()


class _Folder(TemporaryDirectory):
    def __enter__(self):
        return Path(super().__enter__())
