"""The Penn Treebank as language models read it: 10,000 words in small letters, numbers `N`, rare words `<unk>`.

The parts and tokens are those of Mikolov et al. (2010), who published them with their program: sections 0-20 are
trained on, 21 and 22 choose, 23 and 24 test. Nobody publishes a hash, so they are fetched only with `--sha256`, or read
from a folder of the user's.
"""

from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import Archive
from dltk.data.prepare.running import published

ARCHIVE = Archive("http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz")
MEMBERS = {"train": "ptb.train.txt", "val": "ptb.valid.txt", "test": "ptb.test.txt"}


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: a file is missing or damaged.
    """
    return published("ptb", ARCHIVE, MEMBERS, origin, to, progress)
