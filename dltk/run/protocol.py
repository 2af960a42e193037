"""The name of a protocol: how an evaluation saw each sample. Numbers are compared between equal names only."""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from dltk.errors import LaunchError

KINDS = {
    "single_crop": "the middle of each picture; what is no picture and no translation, as it is",
    "ten_crop": "corners, middle, and all of them mirrored (2012)",
    "dense": "every place of the whole picture and of its mirror image",
    "multi_scale_dense": "the same at several scales (OverFeat, VGG)",
    "multi_crop": "144 crops: 4 scales of 3 squares of 6 crops, mirrored too (GoogLeNet)",
    "greedy": "of a translation the likeliest word at each step",
    "beam": "beam=12, the likeliest translation that a beam of 12 finds",
    "sample": "sample=0.8,3, each word drawn at a temperature of 0.8 by the seed 3; sample alone is sample=1,0",
    "multibleu_tok": "multibleu_tok=12, a beam of 12, or alone greedy, with the papers' BLEU: multi-bleu.perl's, of "
    "Moses' tokens",
}
# Of papers' numbers that nothing here measures; a claim that names one stays untested.
PUBLISHED = {
    "multibleu_beam": "multibleu_tok of a beam of which the paper does not say how wide it is",
    "caption_beam": "a beam of which the paper does not say how wide it is",
}

_NAME = re.compile(r"(?P<kind>[a-z][a-z0-9_]*)(=(?P<numbers>\d+(\.\d{1,6})?(,\d+)*))?(\+ensemble=(?P<members>\d+))?")


@dataclass(frozen=True)
class Protocol:
    """`ten_crop`, `dense=384`, `multi_scale_dense=256,384,512+ensemble=5`: kind, scales, members of an ensemble.

    `beam=12` names the width of a beam where the others name scales; `sample=0.8,3` a temperature and a seed.
    """

    kind: str
    scales: tuple[int, ...] = ()  # shorter sides of the pictures, rising; none: those that the kind takes by itself
    members: int = 1  # networks whose predictions are averaged
    temperature: float = 1.0  # of a sample: scores are divided by it
    seed: int = 0

    def __str__(self) -> str:
        """Its name, which can also be a part of a file's."""
        numbers = ",".join(map(str, self.scales))
        if (self.temperature, self.seed) != (1.0, 0):
            numbers = f"{self.temperature:.6f}".rstrip("0").rstrip(".") + (f",{self.seed}" if self.seed else "")
        return (
            self.kind + (f"={numbers}" if numbers else "") + (f"+ensemble={self.members}" if self.members > 1 else "")
        )

    @classmethod
    def read(cls, text: str) -> "Protocol | None":
        """The protocol of a name; None where it is none of this form."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        kind, members = found["kind"], int(found["members"] or 1)
        numbers = [number for number in (found["numbers"] or "").split(",") if number]
        if kind == "sample" and len(numbers) <= 2:
            numbers += ["1", "0"][len(numbers) :]
            return cls(kind, (), members, float(numbers[0]), int(numbers[1]))
        if kind == "sample" or any("." in number for number in numbers):
            return None
        return cls(kind, tuple(map(int, numbers)), members)

    @classmethod
    def named(cls, name: str) -> "Protocol":
        """The protocol that a command line names, of one network.

        Raises:
            LaunchError: there is none.
        """
        found = cls.read(name)
        if found is not None and found.kind in KINDS and found.members == 1:
            return found
        close = get_close_matches(name, KINDS, 1)
        remedy = f"Did you mean '{close[0]}'?" if close else f"Choices: {', '.join(KINDS)}."
        if found is not None and found.members > 1:
            remedy = "Name the runs of the ensemble instead."
        raise LaunchError("", "--protocol", f"there is no '{name}'", remedy)


SINGLE_CROP, GREEDY = Protocol("single_crop"), Protocol("greedy")
TRANSLATIONS = (
    "greedy",
    "beam",
    "sample",
    "multibleu_tok",
)  # kinds that are of translations; the others are of pictures


def read_scales(text: str) -> tuple[int, ...]:
    """`256,384,512` as numbers, rising.

    Raises:
        LaunchError: it is no list of sizes.
    """
    words = text.replace(" ", "").split(",")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise LaunchError("", "--scales", f"'{text}' is no list of sizes", "Write it like 256,384,512.")
    return tuple(sorted({int(word) for word in words}))
