"""Sets of translations, from small archives of their true formats, in folders and behind a real web server."""

import bz2
import gzip
import hashlib
import lzma
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import SETS, Origin, cifar10, debian_descriptions, mnist, multi30k, tatoeba, wmt14
from dltk.data.prepare.archives import Archive
from dltk.data.prepare.pairs import pack_by_origin, together
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from tests.data.prepare.conftest import pairs, quiet, samples, served, tar

SPLITS = ("train", "val", "test")


def prepare(name: str, to: Path, folder: Path | None = None, **origin: object) -> Packing:
    return SETS[name].prepare(Origin(folder=folder, **origin), to, Settings(), quiet)  # type: ignore[arg-type]


def every(to: Path) -> set[tuple[str, str]]:
    return set().union(*(pairs(to, split) for split in read_set(to).splits))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_fetched_is_pinned_and_comes_by_https() -> None:
    pinned = [
        cifar10.ARCHIVE,
        wmt14.NEWSTESTS,
        *(one for one, _ in wmt14.CORPORA.values()),
        *multi30k.ARCHIVES.values(),
        *mnist.ARCHIVES,
    ]
    assert len({one.sha256 for one in pinned}) == len(pinned) == 14
    for one in pinned:
        assert re.fullmatch("[0-9a-f]{64}", one.sha256)
        assert one.url.startswith("https://")
    assert tatoeba.EXPORTS.startswith("https://")
    assert multi30k.RAW.startswith("https://")


# Multi30k


def captions(folder: Path) -> Path:
    """The authors' files of two languages."""
    folder.mkdir()
    for name, count in (("train", 20), ("val", 6), ("test_2016_flickr", 5)):
        for language in ("en", "fr"):
            text = "".join(f"{language} {name} {number}.\n" for number in range(count))
            (folder / f"{name}.{language}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_multi30k_from_the_authors_files(tmp_path: Path) -> None:
    packing = prepare("multi30k", tmp_path / "out", captions(tmp_path / "in"))
    assert packing.samples == {"train": 20, "val": 6, "test": 5}
    named = {f"test/{number:05d}": f"fr test_2016_flickr {number}." for number in range(5)}
    assert {key: one["tgt.txt"].decode() for key, one in samples(tmp_path / "out", "test").items()} == named
    assert packing.set.about["languages"] == ["en", "fr"]
    turned = prepare("multi30k", tmp_path / "turned", tmp_path / "in", languages=("fr", "en"))
    assert turned.samples == packing.samples
    assert pairs(tmp_path / "turned", "val") == {(other, one) for one, other in pairs(tmp_path / "out", "val")}


def test_multi30k_english_and_german_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = tmp_path / "web"
    web.mkdir()
    for part, archive in multi30k.ARCHIVES.items():
        name = multi30k.MEMBERS[part]
        files = {f"./._{name.format('en')}": b"what a Mac adds"}
        files |= {f"./{name.format(one)}": f"{one} {part} ä.\n".encode() for one in ("en", "de")}
        tar(web / archive.name, files)
    with served(web) as (address, asked):
        local = {
            part: Archive(f"{address}/{one.name}", digest(web / one.name)) for part, one in multi30k.ARCHIVES.items()
        }
        monkeypatch.setattr(multi30k, "ARCHIVES", local)
        prepare("multi30k", tmp_path / "out", languages=("en", "de"))
        assert len(asked) == 3
    for part in SPLITS:
        assert pairs(tmp_path / "out", part) == {(f"en {part} ä.", f"de {part} ä.")}


def test_multi30k_french_is_fetched_only_with_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"train\.en\.gz: has no sha256 that is known here.*--sha256 train\.en\.gz=HASH"
    ):
        prepare("multi30k", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    web = captions(tmp_path / "web")
    hashes = {path.name: digest(path) for path in web.iterdir()}
    with served(web) as (address, _):
        monkeypatch.setattr(multi30k, "RAW", address)
        prepare("multi30k", tmp_path / "out", hashes=hashes)
    assert len(pairs(tmp_path / "out", "train")) == 20


def test_multi30k_mistakes(tmp_path: Path) -> None:
    source = captions(tmp_path / "in")
    with pytest.raises(DataError, match=r"--languages: there is no 'ru'\. Choose two of en, fr, de, cs"):
        prepare("multi30k", tmp_path / "out", source, languages=("en", "ru"))
    with pytest.raises(DataError, match=r"holds neither train\.en\.gz and train\.de\.gz nor training\.tar\.gz"):
        prepare("multi30k", tmp_path / "out", source, languages=("en", "de"))
    with pytest.raises(DataError, match=r"--sha256: 'x\.gz' is no archive of this set"):
        prepare("multi30k", tmp_path / "out", hashes={"x.gz": "0" * 64})
    with pytest.raises(DataError, match=r"train\.en\.gz: has sha256 .*, 0000.* was expected"):
        prepare("multi30k", tmp_path / "out", source, hashes={"train.en.gz": "0" * 64})
    with pytest.raises(DataError, match="--source: is no folder"):
        prepare("multi30k", tmp_path / "out", tmp_path / "nowhere")
    (source / "val.fr.gz").write_bytes(gzip.compress(b"one line\n"))
    with pytest.raises(DataError, match=r"val\.en\.gz: has more lines than .*val\.fr\.gz.*, which has 1\."):
        prepare("multi30k", tmp_path / "out", source)
    whole = (source / "train.fr.gz").read_bytes()
    (source / "train.fr.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"train\.fr\.gz: cannot be read"):
        prepare("multi30k", tmp_path / "out", source)


# WMT 2014

NEWS = {
    "en": [f"News {number} & more." for number in range(4)],
    "fr": [f"Nouvelle {number} & plus." for number in range(4)],
}


def sgm(language: str) -> bytes:
    escaped = [text.replace("&", "&amp;") for text in NEWS[language]]
    segments = "\n".join(f'<seg id="{number + 1}">{text}</seg>' for number, text in enumerate(escaped))
    head = f'<srcset setid="newstest2014" srclang="any">\n<doc docid="1" origlang="{language}">\n<p>\n'
    return f"{head}{segments}\n</p>\n</doc>\n</srcset>\n".encode()


def newstests(folder: Path) -> Path:
    dev = {"dev/newstest2013.en": b"A.\nB.\n", "dev/newstest2013.fr": "À.\nB.\n".encode()}
    dev |= {"dev/newstest2014-fren-ref.en.sgm": sgm("en"), "dev/newstest2014-fren-src.fr.sgm": sgm("fr")}
    return tar(folder / wmt14.NEWSTESTS.name, dev)


def corpora(folder: Path) -> Path:
    """All archives, each with a file of another language, as they have."""
    folder.mkdir()
    newstests(folder)
    for name, (archive, pattern) in wmt14.CORPORA.items():
        files = {pattern.replace("fr-en", "de-en").format("de"): b"Deutsch\n"}
        for language in ("en", "fr"):
            # A carriage return and a line separator inside of a line end none; an empty line makes no pair.
            text = f"{name}\r {language}\u2028 0\n\n{name} {language} 1\n".encode()
            packed = gzip.compress(text) if pattern.endswith(".gz") else text
            files[pattern.format(language)] = packed
        tar(folder / archive.name, files)
    return folder


def test_wmt14_from_all_archives(tmp_path: Path) -> None:
    packing = prepare("wmt14", tmp_path / "out", corpora(tmp_path / "in"))
    assert packing.samples == {"train": 10, "val": 2, "test": 4}
    assert pairs(tmp_path / "out", "val") == {("A.", "À."), ("B.", "B.")}
    assert pairs(tmp_path / "out", "test") == set(zip(NEWS["en"], NEWS["fr"], strict=True))
    wanted = {(f"{name}\r en\u2028 0", f"{name}\r fr\u2028 0") for name in wmt14.CORPORA}
    wanted |= {(f"{name} en 1", f"{name} fr 1") for name in wmt14.CORPORA}
    assert pairs(tmp_path / "out", "train") == wanted
    assert packing.set.about["corpora"] == list(wmt14.CORPORA)


def test_wmt14_from_some_archives(tmp_path: Path) -> None:
    source = corpora(tmp_path / "in")
    for name, (archive, _) in wmt14.CORPORA.items():
        if name != "commoncrawl":
            (source / archive.name).unlink()
    packing = prepare("wmt14", tmp_path / "out", source)
    assert packing.samples["train"] == 2
    assert packing.set.about["corpora"] == ["commoncrawl"]
    (source / wmt14.NEWSTESTS.name).unlink()
    with pytest.raises(DataError, match=r"--source: holds no dev\.tgz"):
        prepare("wmt14", tmp_path / "two", source)
    newstests(source)
    (source / "training-parallel-commoncrawl.tgz").unlink()
    with pytest.raises(
        DataError, match=r"holds no training-parallel-europarl-v7\.tgz or training-parallel-commoncrawl"
    ):
        prepare("wmt14", tmp_path / "two", source)


def test_wmt14_is_fetched_and_a_cut_download_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = corpora(tmp_path / "web")

    def here(archive: Archive, address: str) -> Archive:
        path = web / archive.name
        return Archive(f"{address}/{archive.name}", digest(path), path.stat().st_size)

    with served(web) as (address, asked):
        local = {name: (here(archive, address), pattern) for name, (archive, pattern) in wmt14.CORPORA.items()}
        monkeypatch.setattr(wmt14, "CORPORA", local)
        monkeypatch.setattr(wmt14, "NEWSTESTS", here(wmt14.NEWSTESTS, address))
        held = tmp_path / "out" / ".archives"
        held.mkdir(parents=True)
        shutil.copy(web / "dev.tgz", held)  # of an attempt that was killed
        (held / "training-giga-fren.tar.part").write_bytes((web / "training-giga-fren.tar").read_bytes()[:700])
        packing = prepare("wmt14", tmp_path / "out")
        assert sorted(asked) == sorted(f"/{archive.name}" for archive, _ in local.values())
    assert packing.samples == {"train": 10, "val": 2, "test": 4}
    assert not held.exists()


def test_wmt14_archives_that_hold_something_else(tmp_path: Path) -> None:
    source = corpora(tmp_path / "in")
    tar(source / "training-parallel-nc-v9.tgz", {"training/news-commentary-v9.fr-en.en": b"x\n"})
    with pytest.raises(DataError, match=r"nc-v9\.tgz: training/news-commentary-v9\.fr-en\.fr: is not in it"):
        prepare("wmt14", tmp_path / "out", source)
    files = {"training/news-commentary-v9.fr-en.en": b"x\n", "training/news-commentary-v9.fr-en.fr": b"caf\xe9\n"}
    tar(source / "training-parallel-nc-v9.tgz", files)
    with pytest.raises(DataError, match=r"fr-en\.fr: line 1: is not in UTF-8"):
        prepare("wmt14", tmp_path / "out", source)


# Tatoeba

ENGLISH = {1: "Go.", 2: "Run!", 3: "I see.", 4: "Nobody translated this."}
FRENCH = {11: "Va !", 12: "Cours !", 13: "Courez !", 14: "Je vois.", 15: "Vas-y."}
LINKS = ((1, 11), (1, 15), (2, 12), (2, 13), (3, 14), (9, 14))
LINKED = {(ENGLISH[one], FRENCH[other]) for one, other in LINKS if one in ENGLISH}


def exports(folder: Path) -> Path:
    folder.mkdir()
    for language, sentences in (("eng", ENGLISH), ("fra", FRENCH)):
        text = "".join(f"{number}\t{language}\t{sentence}\n" for number, sentence in sentences.items())
        (folder / f"{language}_sentences.tsv.bz2").write_bytes(bz2.compress(text.encode()))
    links = "".join(f"{one}\t{other}\n" for one, other in LINKS)
    (folder / "eng-fra_links.tsv.bz2").write_bytes(bz2.compress(links.encode()))
    return folder


def test_tatoeba_from_its_exports(tmp_path: Path) -> None:
    prepare("tatoeba", tmp_path / "out", exports(tmp_path / "in"))
    assert every(tmp_path / "out") == LINKED


def test_tatoeba_from_manythings(tmp_path: Path) -> None:
    thanks = "CC-BY 2.0 (France) Attribution: tatoeba.org #2877272 (CM) & #1158250 (Wittydev)"
    with zipfile.ZipFile(tmp_path / "fra-eng.zip", "w") as archive:
        archive.writestr("_about.txt", "Tab-delimited bilingual sentence pairs")
        archive.writestr("fra.txt", "".join(f"{one}\t{other}\t{thanks}\n" for one, other in sorted(LINKED)))
    prepare("tatoeba", tmp_path / "out", tmp_path)
    assert every(tmp_path / "out") == LINKED


def test_tatoeba_is_fetched_only_with_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"eng_sentences\.tsv\.bz2: has no sha256 that is known here"):
        prepare("tatoeba", tmp_path / "out")
    web = exports(tmp_path / "web")
    hashes = {path.name: digest(path) for path in web.iterdir()}
    for path in list(web.iterdir()):
        folder = web / ("fra" if path.name.startswith("fra") else "eng")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    with served(web) as (address, _):
        monkeypatch.setattr(tatoeba, "EXPORTS", address)
        prepare("tatoeba", tmp_path / "out", hashes=hashes)
    assert every(tmp_path / "out") == LINKED


def test_tatoeba_mistakes(tmp_path: Path) -> None:
    source = exports(tmp_path / "in")
    with pytest.raises(DataError, match=r"--languages: en-fr are no codes of three letters\. Give eng-fra"):
        prepare("tatoeba", tmp_path / "out", source, languages=("en", "fr"))
    with pytest.raises(DataError, match=r"holds neither eng_sentences\.tsv\.bz2, deu_sent.* nor deu-eng\.zip"):
        prepare("tatoeba", tmp_path / "out", source, languages=("eng", "deu"))
    (source / "fra_sentences.tsv.bz2").write_bytes(bz2.compress(b"11\tfra\n"))
    with pytest.raises(DataError, match=r"fra_sentences\.tsv\.bz2: line 1: has 2 columns, 3 are expected"):
        prepare("tatoeba", tmp_path / "out", source)
    (source / "eng-fra_links.tsv.bz2").write_bytes(bz2.compress(b""))
    (source / "fra_sentences.tsv.bz2").write_bytes(bz2.compress(b"11\tfra\tVa !\n"))
    with pytest.raises(DataError, match="nothing is in tatoeba: no pair of sentences was found"):
        prepare("tatoeba", tmp_path / "out", source)


def test_no_sentence_lies_in_two_parts(tmp_path: Path) -> None:
    """Neither itself, nor a translation of a translation."""
    english = {number: f"Sentence {number}." for number in range(400)}
    french = {1000 + number: f"Phrase {number}." for number in range(400)}
    links = [(number, 1000 + number) for number in english] + [(n, 1000 + n + 1) for n in range(0, 400, 2)]
    source = exports(tmp_path / "in")
    for language, sentences in (("eng", english), ("fra", french)):
        text = "".join(f"{number}\t{language}\t{sentence}\n" for number, sentence in sentences.items())
        (source / f"{language}_sentences.tsv.bz2").write_bytes(bz2.compress(text.encode()))
    (source / "eng-fra_links.tsv.bz2").write_bytes(bz2.compress("".join(f"{a}\t{b}\n" for a, b in links).encode()))
    prepare("tatoeba", tmp_path / "out", source)
    found = {split: pairs(tmp_path / "out", split) for split in SPLITS}
    assert sum(map(len, found.values())) == 600
    assert all(len(found[split]) > least for split, least in (("train", 300), ("val", 10), ("test", 60)))
    for side in (0, 1):
        sides = [{one[side] for one in found[split]} for split in SPLITS]
        assert sum(map(len, sides)) == len(set().union(*sides)) == 400


def test_groups_do_not_change_with_what_else_there_is() -> None:
    few = [("b", "x"), ("b", "y"), ("c", "y"), ("d", "z")]
    one, two, three, four = together(few)
    assert one == two == three != four
    assert list(together([("a", "w"), *few]))[1:] == [one, two, three, four]


def test_an_origin_is_in_one_part_and_shared_sentences_are_not_tested(tmp_path: Path) -> None:
    texts = [(f"o{n}", f"s{n} {k}", f"t{n} {k}") for n in range(300) for k in range(4)]
    texts += [(f"o{n}", "Of all", f"t{n} of its own") for n in range(300)]  # one source, several translations
    texts += [(f"o{n}", f"s{n} of its own", " DE tous " if n % 2 else "de Tous") for n in range(300)]
    texts += [("o0", "same", "same"), ("o0", "", "empty"), *texts[:9]]
    made = [
        pack_by_origin(given, tmp_path / name, name="set", about={}, settings=Settings(), progress=quiet)
        for name, given in (("one", texts), ("two", texts[::-1]))
    ]
    found = {part: pairs(tmp_path / "one", part) for part in SPLITS}
    assert found == {part: pairs(tmp_path / "two", part) for part in SPLITS}
    assert made[0].set.about == made[1].set.about
    origins = {part: {source.split()[0] for source, _ in found[part] if source != "Of all"} for part in SPLITS}
    assert sum(map(len, origins.values())) == len(set().union(*origins.values())) == 300
    assert all(len(origins[part]) >= least for part, least in (("train", 250), ("val", 5), ("test", 5)))
    assert len(found["train"]) == 6 * len(origins["train"])
    for part in ("val", "test"):
        assert len(found[part]) == 4 * len(origins[part])
        assert made[0].set.about["shared"][part] == 2 * len(origins[part])
    written = "".join(sorted("\t".join((part, *one)) + "\n" for part in SPLITS for one in found[part]))
    assert made[0].set.about["sha256"] == hashlib.sha256(written.encode()).hexdigest()
    assert made[0].set.about["pairs"] == sum(map(len, found.values()))


def test_origins_without_anything_to_train_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to train on is in set: 0 pairs of sentences were found"):
        pack_by_origin([("o", "x", "x")], tmp_path, name="set", about={}, settings=Settings(), progress=quiet)


# Debian's descriptions


def record(package: str, md5: str, language: str, short: str, long: str) -> str:
    return f"Package: {package}\nDescription-md5: {md5}\nDescription-{language}: {short}\n{long}\n"


EN = [
    record(
        "a",
        "1" * 32,
        "en",
        "small game",
        " A game of\n two lines.\n .\n It has:\n  * sound;\n  * pictures,\n    too.\n",
    ),
    record("b", "2" * 32, "en", "small game - data", " A game of\n two lines.\n .\n The data.\n"),
    record("c", "3" * 32, "en", "tool", " One paragraph.\n"),
    record("d", "4" * 32, "en", "untranslated", " Nothing.\n"),
    record("e", "5" * 32, "en", "X11", " Same.\n"),
    record("liba", "6" * 32, "en", "library", " For:\n  - one;\n  - two.\n"),
    record("other", "6" * 32, "en", "library", " For:\n  - one;\n  - two.\n"),
]
FR = [
    record(
        "a", "1" * 32, "fr", "petit jeu",
        " Un jeu\n de deux lignes.\n .\n Il a :\n  - du son ;\n  - des\n images  aussi.\n",
    ),
    record("b", "2" * 32, "fr", "petit jeu – données", " Un jeu de deux\n lignes.\n .\n Les données.\n"),
    record("c", "3" * 32, "fr", "outil", " Un paragraphe.\n .\n Et un autre.\n"),
    record("e", "5" * 32, "fr", "X11", " Pareil.\n"),
    record("liba", "6" * 32, "fr", "bibliothèque⋅C", " Pour :\n  —⋅un ;\n  − deux.\n"),
]  # fmt: skip
PACKAGES = """Package: a
Version: 1

Package: b
Source: a (1.2)
Version: 2

Package: liba
Source: a
"""
DESCRIBED = {
    ("small game", "petit jeu"),
    ("A game of two lines.", "Un jeu de deux lignes."),
    ("It has:", "Il a :"),
    ("sound;", "du son ;"),
    ("pictures, too.", "des images aussi."),
    ("small game - data", "petit jeu – données"),
    ("The data.", "Les données."),
    ("tool", "outil"),  # its paragraphs differ in number
    ("Same.", "Pareil."),  # X11 is its own translation
    ("library", "bibliothèque C"),  # the mark stands for a space that must not be broken
    ("For:", "Pour :"),
    ("one;", "un ;"),
    ("two.", "deux."),
}


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The origins, sentences and translations that are packed; all of them are trained on."""
    given: list[tuple[str, str, str]] = []

    def pack(texts: Iterable[tuple[str, str, str]], to: Path, **more: object) -> Packing:
        given.extend(texts)
        return pack_by_origin((("b", one, other) for _, one, other in given), to, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(debian_descriptions, "pack_by_origin", pack)
    return given


Given = list[tuple[str, str, str]]


def test_debians_descriptions_from_files(tmp_path: Path, trained_on: Given) -> None:
    (tmp_path / "Translation-en.xz").write_bytes(lzma.compress("\n".join(EN).encode()))
    (tmp_path / "Translation-fr").write_text("\n".join(FR), encoding="utf-8")
    with pytest.raises(DataError, match=r"--source: holds no Packages\. Add it, plain, xz, bz2 or gz\."):
        prepare("debian_descriptions", tmp_path / "out", tmp_path)
    (tmp_path / "main_Packages").write_text(PACKAGES)
    packing = prepare("debian_descriptions", tmp_path / "out", tmp_path)
    assert every(tmp_path / "out") == DESCRIBED
    assert packing.set.about["pairs"] == len(DESCRIBED)
    with pytest.raises(DataError, match="--source: holds no Translation-de"):
        prepare("debian_descriptions", tmp_path / "german", tmp_path, languages=("en", "de"))
    (tmp_path / "Translation-en.xz").write_bytes(lzma.compress("\n".join(EN).encode())[:-9])
    with pytest.raises(DataError, match=r"Translation-en\.xz: cannot be read"):
        prepare("debian_descriptions", tmp_path / "cut", tmp_path)


def test_debians_descriptions_by_source_package(tmp_path: Path, trained_on: Given) -> None:
    (tmp_path / "Translation-en").write_text("\n".join(EN), encoding="utf-8")
    (tmp_path / "Translation-fr").write_text("\n".join(FR), encoding="utf-8")
    (tmp_path / "Packages.xz").write_bytes(lzma.compress(PACKAGES.encode()))
    prepare("debian_descriptions", tmp_path / "out", tmp_path)
    origins = {
        "small game": {"a"},
        "small game - data": {"a"},  # package b of source a
        "tool": {"c"},  # it is not listed: a source of its own
        "library": {"a", "other"},  # two packages are described alike
    }
    for sentence, expected in origins.items():
        assert {origin for origin, one, _ in trained_on if one == sentence} == expected


APT = """#!{python}
import pathlib, sys
options = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
assert sys.argv[1] == "update" and options["Acquire::Languages"] == "en,fr", sys.argv
lists = pathlib.Path(options["Dir::State::Lists"])
assert (lists / "partial").is_dir() and lists.is_absolute()
if {fails}:
    sys.exit("E: Could not resolve 'mirror'")
for language in ("en", "fr"):
    name = f"mirror_debian_dists_stable_main_i18n_Translation-{{language}}"
    (lists / name).write_bytes(pathlib.Path({folder!r}, language).read_bytes())
(lists / "mirror_debian_dists_stable_main_binary-amd64_Packages").write_text({packages!r})
"""
HELPER = """#!{python}
import pathlib, sys
assert sys.argv[1] == "cat-file"
sys.stdout.buffer.write(pathlib.Path(sys.argv[2]).read_bytes())
"""


def command(path: Path, text: str, **values: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.format(python=sys.executable, folder=str(path.parent), **values))
    path.chmod(0o755)
    return path


def test_debians_descriptions_by_apt(tmp_path: Path, trained_on: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for apt writes lists where it is told to."""
    helper = command(tmp_path / "bin" / "apt-helper", HELPER)
    command(tmp_path / "bin" / "apt-get", APT, fails=False, packages=PACKAGES)
    (tmp_path / "bin" / "en").write_text("\n".join(EN), encoding="utf-8")
    (tmp_path / "bin" / "fr").write_text("\n".join(FR), encoding="utf-8")
    monkeypatch.setattr(debian_descriptions, "CAT", str(helper))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    prepare("debian_descriptions", tmp_path / "out")
    assert every(tmp_path / "out") == DESCRIBED
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")) == []
    command(tmp_path / "bin" / "apt-get", APT, fails=True, packages="")
    with pytest.raises(DataError, match=r"gave no Translation-en: E: Could not resolve 'mirror'\. Look at"):
        prepare("debian_descriptions", tmp_path / "other")


def test_debians_descriptions_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"apt-get: is not on this machine, which is no Debian\. Give --source"):
        prepare("debian_descriptions", tmp_path / "out")
