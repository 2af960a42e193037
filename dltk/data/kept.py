"""What is worked out of a set and kept in its folder `vocabularies`, so that it need not be worked out again."""

import contextlib
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dltk.data.vocabulary import Vocabulary, from_plain
from dltk.errors import DataError

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)  # by permissions, or by a disk that can only be read
FOLDER = "vocabularies"  # in the set's folder


def keep(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file whole or not at all; where the set may not be written to, each process makes its own."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            write(file)
        partial.replace(path)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def kept_vocabulary(path: Path, make: Callable[[], Vocabulary]) -> Vocabulary:
    """A vocabulary as a file keeps it, or else made, and then kept.

    Raises:
        DataError: the file holds none, or it cannot be made.
    """
    try:
        return from_plain(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, DataError) as error:
        raise DataError(path, "", f"is no vocabulary: {error}", "Remove it; it is made again.") from None
    found = make()
    keep(path, lambda file: file.write(json.dumps(found.to_plain(), ensure_ascii=False).encode()))
    return found
