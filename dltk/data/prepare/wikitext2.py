"""WikiText-2 (Merity, Xiong, Bradbury, Socher 2016): articles of Wikipedia, 2 million words, rare ones `<unk>`."""

from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import Archive
from dltk.data.prepare.running import published

ADDRESS = "https://s3.amazonaws.com/research.metamind.io/wikitext"
ARCHIVE = Archive(f"{ADDRESS}/wikitext-2-v1.zip", "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c")
MEMBERS = {"train": "wiki.train.tokens", "val": "wiki.valid.tokens", "test": "wiki.test.tokens"}


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: a file is missing or damaged.
    """
    return published("wikitext2", ARCHIVE, MEMBERS, origin, to, progress)
