"""Known data sets: how each becomes a set of shards. A file for each; `dltk data prepare NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dltk.data.progress import Progress

if TYPE_CHECKING:
    from dltk.data.pack import Packing, Settings


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a set is made from."""

    folder: Path | None = None  # where its archives lie; None: they are fetched, or none are needed
    languages: tuple[str, str] | None = None  # source and target; None: the set's usual ones
    hashes: Mapping[str, str] = field(default_factory=dict)  # sha256 of archives to be fetched, by name


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """One data set that `prepare` makes."""

    module: str  # of this package
    what: str
    source: str = ""  # what `--source` names; empty where the set is made by rule
    fetches: bool = False  # without `--source`, it is fetched
    languages: tuple[str, str] | None = None  # the usual ones, of a set that has several

    def prepare(self, origin: Origin, to: Path, settings: "Settings", progress: Progress) -> "Packing":
        """Make the set in the folder `to`.

        Raises:
            DataError: what it is made from is missing or damaged.
        """
        made: Packing = import_module(f"dltk.data.prepare.{self.module}").prepare(origin, to, settings, progress)
        return made


SETS = {
    "imagenet2012": KnownSet(
        module="imagenet2012",
        what="ImageNet of 2012: 1,281,167 + 50,000 pictures in 1,000 classes",
        source="the folder with the official archives, Kaggle's ILSVRC folder, or WebDataset shards",
    ),
    "mnist": KnownSet(
        module="mnist",
        what="MNIST: 60,000 + 10,000 digits",
        source="the folder with the four IDX files",
        fetches=True,
    ),
    "cifar10": KnownSet(
        module="cifar10",
        what="CIFAR-10: 50,000 + 10,000 pictures in 10 classes",
        source="the folder with cifar-10-binary.tar.gz",
        fetches=True,
    ),
    "gtsrb": KnownSet(
        module="gtsrb",
        what="GTSRB: 39,209 + 12,630 traffic signs in 43 classes",
        source="the folder with GTSRB_Final_Training_Images.zip, …_Test_Images.zip and …_Test_GT.zip",
        fetches=True,
    ),
    "wmt14": KnownSet(
        module="wmt14",
        what="WMT 2014, English and French: 41 million pairs of sentences",
        source="the folder with its archives, or some of them",
        fetches=True,
    ),
    "multi30k": KnownSet(
        module="multi30k",
        what="Multi30k: 29,000 + 1,014 + 1,000 captions in English, French and German",
        source="the folder with train.en.gz and the like, or with training.tar.gz and the like",
        fetches=True,
        languages=("en", "fr"),
    ),
    "tatoeba": KnownSet(
        module="tatoeba",
        what="Tatoeba: short sentences translated by volunteers",
        source="the folder with eng_sentences.tsv.bz2 and the like, or fra-eng.zip",
        fetches=True,
        languages=("eng", "fra"),
    ),
    "debian_descriptions": KnownSet(
        module="debian_descriptions",
        what="what Debian's packages are, in English and French, by apt: 50,000 pairs",
        source="the folder with Translation-en.xz, Translation-fr.xz and Packages.xz",
        fetches=True,
        languages=("en", "fr"),
    ),
    "flickr8k": KnownSet(
        module="flickr8k",
        what="Flickr8k: 8,000 pictures, five captions each",
        source="the folder with Flickr8k_Dataset.zip and Flickr8k_text.zip",
    ),
    "flickr30k": KnownSet(
        module="flickr30k",
        what="Flickr30k: 31,000 pictures, five captions each",
        source="the folder with flickr30k-images.tar.gz, flickr30k.tar.gz, and dataset_flickr30k.json for its parts",
    ),
    "coco2014": KnownSet(
        module="coco2014",
        what="COCO of 2014: 123,287 pictures, five captions each",
        source="the folder with train2014.zip, val2014.zip, annotations_trainval2014.zip, and dataset_coco.json for its"
        " parts",
    ),
    "bible": KnownSet(
        module="bible",
        what="the King James Bible, 31,102 verses, from Debian's packages, by apt",
        source="the folder with bible-kjv_*.deb and bible-kjv-text_*.deb",
        fetches=True,
    ),
    "ptb": KnownSet(
        module="ptb",
        what="the Penn Treebank as language models read it: 10,000 words, a million tokens",
        source="the folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt, or simple-examples.tgz",
        fetches=True,
    ),
    "wikitext2": KnownSet(
        module="wikitext2",
        what="WikiText-2: articles of Wikipedia, 33,278 words, 2 million tokens",
        source="the folder with wiki.train.tokens and the like, or wikitext-2-v1.zip",
        fetches=True,
    ),
    "wikitext103": KnownSet(
        module="wikitext103",
        what="WikiText-103: articles of Wikipedia, 267,735 words, 103 million tokens",
        source="the folder with wiki.train.tokens and the like, or wikitext-103-v1.zip",
        fetches=True,
    ),
    "enwik8": KnownSet(
        module="enwik8",
        what="enwik8: the first hundred million bytes of Wikipedia",
        source="the folder with enwik8, or enwik8.zip",
        fetches=True,
    ),
    "pydoc_topics": KnownSet(
        module="pydoc_topics", what="what Python's help() says of itself, 370,000 characters, from its standard library"
    ),
    "icons": KnownSet(
        module="icons",
        what="6,000 icons by different hands in 8 contexts, from the themes of Debian, by apt",
        source="the folder with the themes' packages (.deb)",
        fetches=True,
    ),
    "timit": KnownSet(
        module="timit",
        what="TIMIT: 3,696 + 400 + 192 sentences of 536 speakers as 61 phones",
        source="the folder with LDC's TRAIN and TEST",
    ),
    "prompts": KnownSet(
        module="prompts",
        what="telephone prompts and their transcripts: one speaker, 24 minutes, from Debian's packages, by apt",
        source="the folder with asterisk-core-sounds-en-wav_*.deb and asterisk-core-sounds-en_*.deb",
        fetches=True,
    ),
    "number_names": KnownSet(
        module="number_names", what="numbers in English and French words, made by rule (num2words)"
    ),
    "rendered": KnownSet(
        module="rendered", what="1,000 classes of characters drawn from the fonts of matplotlib, made by rule"
    ),
}
