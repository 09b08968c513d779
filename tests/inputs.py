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


class Accepted:
    """What came of reading something: its value or, where it was refused, the sentence, and what was told on the way."""

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
