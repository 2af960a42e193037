"""Transcripts as labels: the letters of English, or the phones of TIMIT.

TIMIT's 61 phones are transcribed, and folded to 39 classes where transcripts are compared: Lee, Hon,
"Speaker-independent phone recognition using hidden Markov models", IEEE Trans. ASSP 37 (1989), table 3; the glottal
stop is left out.
"""

import re
from typing import Literal

from dltk.errors import DataError

Kind = Literal["letters", "phones"]

LETTERS = tuple(" 'abcdefghijklmnopqrstuvwxyz")
OTHER = re.compile(r"[^a-z']+")
PHONES = tuple(
    "aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv ih ix iy jh k kcl l "
    "m n ng nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh".split()
)
TOGETHER = (
    *("aa ao", "ah ax ax-h", "er axr", "hh hv", "ih ix", "l el", "m em", "n en nx", "ng eng", "sh zh", "uw ux"),
    "h# pau epi bcl dcl gcl pcl tcl kcl",
)
FOLDED = {name: group.split()[0] for group in TOGETHER for name in group.split()[1:]} | {"q": ""}
NAMES = {"letters": LETTERS, "phones": PHONES}


def labels(transcript: str, kind: Kind) -> list[int]:
    """A transcript to the numbers of its labels, from 1: of letters, or of phones with spaces between.

    Capitals are small letters, and what is neither letter nor apostrophe parts words.

    Raises:
        DataError: it has a digit, which can be read in many ways; a name that is no phone; or nothing.
    """
    if kind == "phones":
        names = transcript.split()
        strange = next((name for name in names if name not in PHONES), None)
        if strange is not None:
            raise DataError("", "txt", f"'{strange}' is none of TIMIT's phones")
    else:
        digit = next((one for one in transcript if one.isdigit()), None)
        if digit is not None:
            raise DataError("", "txt", f"has the digit {digit}", "Write numbers out.")
        names = list(OTHER.sub(" ", transcript.lower()).strip())
    if not names:
        raise DataError("", "txt", f"'{transcript.strip()}' has nothing to transcribe")
    return [1 + NAMES[kind].index(name) for name in names]
