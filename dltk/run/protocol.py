"""The name of a protocol: how an evaluation saw each sample. Numbers are compared between equal names only."""

import re
from dataclasses import dataclass

from dltk.errors import LaunchError

KINDS = {
    "single_crop": "the middle of each picture",
    "ten_crop": "corners, middle, and all of them mirrored (2012)",
    "dense": "every place of the whole picture and of its mirror image",
    "multi_scale_dense": "the same at several scales (OverFeat, VGG)",
    "multi_crop": "144 crops: 4 scales of 3 squares of 6 crops, mirrored too (GoogLeNet)",
    "greedy": "of a translation the likeliest word at each step",
    "beam": "beam=12, the likeliest translation that a beam of 12 finds",
}
# Of papers' numbers that nothing here measures; a claim that names one stays untested.
PUBLISHED = {
    "multibleu_beam": "multi-bleu.perl on tokenised text, which gives more than sacrebleu on text as people write it",
}

_NAME = re.compile(r"(?P<kind>[a-z][a-z0-9_]*)(=(?P<scales>\d+(,\d+)*))?(\+ensemble=(?P<members>\d+))?")


@dataclass(frozen=True)
class Protocol:
    """`ten_crop`, `dense=384`, `multi_scale_dense=256,384,512+ensemble=5`: kind, scales, members of an ensemble.

    `beam=12` names the width of a beam where the others name scales.
    """

    kind: str
    scales: tuple[int, ...] = ()  # shorter sides of the pictures, rising; none: those that the kind takes by itself
    members: int = 1  # networks whose predictions are averaged

    def __str__(self) -> str:
        """Its name, which can also be a part of a file's."""
        scales = f"={','.join(map(str, self.scales))}" if self.scales else ""
        return self.kind + scales + (f"+ensemble={self.members}" if self.members > 1 else "")

    @classmethod
    def read(cls, text: str) -> "Protocol | None":
        """The protocol of a name; None where it is none of this form."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        scales = tuple(int(scale) for scale in (found["scales"] or "").split(",") if scale)
        return cls(found["kind"], scales, int(found["members"] or 1))


SINGLE_CROP, GREEDY = Protocol("single_crop"), Protocol("greedy")
TRANSLATIONS = ("greedy", "beam")  # kinds that are of translations; the others are of pictures


def read_scales(text: str) -> tuple[int, ...]:
    """`256,384,512` as numbers, rising.

    Raises:
        LaunchError: it is no list of sizes.
    """
    words = text.replace(" ", "").split(",")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise LaunchError("", "--scales", f"'{text}' is no list of sizes", "Write it like 256,384,512.")
    return tuple(sorted({int(word) for word in words}))
