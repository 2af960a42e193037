"""WikiText-103 (Merity, Xiong, Bradbury, Socher 2016): articles of Wikipedia, 103 million words, rare ones `<unk>`."""

from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import Archive
from dltk.data.prepare.running import published
from dltk.data.prepare.wikitext2 import ADDRESS, MEMBERS

ARCHIVE = Archive(f"{ADDRESS}/wikitext-103-v1.zip", "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590")


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: a file is missing or damaged.
    """
    return published("wikitext103", ARCHIVE, MEMBERS, origin, to, progress)
