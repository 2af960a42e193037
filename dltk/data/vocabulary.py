"""Vocabularies: text to the numbers of its tokens and back, made from the training part.

`words` takes the most frequent words and marks of punctuation, as the translators of 2014 did; the rest becomes
`<unk>`. `bpe` and `unigram` are sentencepiece's pieces of words: Sennrich, Haddow, Birch, "Neural machine translation
of rare words with subword units", ACL (2016); Kudo, "Subword regularization", ACL (2018). `characters` are those of
the text, for networks that spell. `spaced` is what stands between spaces, for texts that somebody has cut into tokens
already; their `<unk>` is ours. `bytes` are those of UTF-8. `Phrases` are words in small letters, and phrases of them,
of which word vectors are made.
"""

import base64
import functools
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from dltk.data import phrases
from dltk.errors import DataError
from dltk.layers.tokens import BOS, EOS, PAD, SPECIAL, UNK

Kind = Literal["words", "bpe", "unigram", "characters", "spaced", "bytes"]

WORD = re.compile(r"\w+")
TOKEN, MARK = re.compile(r"\w+|[^\w\s]"), re.compile(r"[^\w\s]")
JOINER = "￭"  # on the side of a mark of punctuation where no space stands between it and its neighbour
SENTENCES = 2_000_000  # of which pieces are learnt, at most


class Vocabulary(Protocol):
    """Text to numbers and back. The numbers of `dltk.layers.tokens` mean the same in all."""

    def __len__(self) -> int:
        """Tokens, the four special ones among them."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without begin and end."""

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of tokens; of numbers that are none, as a network with more of them may write, `<unk>`."""

    def name(self, number: int) -> str:
        """A token as it is shown alone; of a number that is none, `<unk>`."""

    def to_plain(self) -> dict[str, Any]:
        """What `from_plain` makes it from again, of plain types."""

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits; vocabularies with others give other numbers."""


class Words:
    """Words and marks of punctuation.

    A mark carries JOINER on each side where it touches its neighbour, so that text comes back as it was, but for the
    number of spaces: `l'eau, 3.5` is `l ￭'￭ eau ￭, 3 ￭.￭ 5`.

    Args:
        words: without the special tokens; their numbers follow from their order.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._numbers = {word: number for number, word in enumerate(self.words, len(SPECIAL))}

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> "Words":
        """The most frequent tokens of some texts; of equally frequent ones the first of the alphabet."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split_words(text))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([word for word, _ in ranked[: size - len(SPECIAL)]])

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; what is not in the vocabulary is UNK."""
        return [self._numbers.get(word, UNK) for word in split_words(text)]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of tokens, spaces left out where JOINER says so."""
        return join_words(self.texts(numbers))

    def texts(self, numbers: Sequence[int]) -> list[str]:
        """The word of each token."""
        return [self._word(number) for number in numbers]

    def name(self, number: int) -> str:
        """The word or mark, without JOINER."""
        return self._word(number).strip(JOINER)

    def _word(self, number: int) -> str:
        if number >= len(self):
            return SPECIAL[UNK]
        return SPECIAL[number] if number < len(SPECIAL) else self.words[number - len(SPECIAL)]

    def to_plain(self) -> dict[str, str | list[str]]:
        """The words."""
        return {"kind": "words", "words": self.words}

    @functools.cached_property
    def hash(self) -> str:
        """Of the words in their order."""
        return _hash(self.to_plain())


class Pieces:
    """Pieces of words that sentencepiece has learnt.

    Args:
        kind: `bpe` or `unigram`.
        model: as sentencepiece writes it.
    """

    def __init__(self, kind: str, model: bytes) -> None:
        self.kind, self.model = kind, model
        self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)

    @classmethod
    def learn(cls, kind: str, texts: Iterable[str], size: int) -> "Pieces":
        """Pieces of some texts, as many as asked for or as there are."""
        model = io.BytesIO()
        try:
            _sentencepiece().SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type=kind,
                vocab_size=size,
                hard_vocab_limit=False,
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                character_coverage=0.9995,
                input_sentence_size=SENTENCES,
                shuffle_input_sentence=False,  # the first ones: shards are shuffled already
                num_threads=1,  # the pieces do not depend on the machine
                minloglevel=2,
            )
        except RuntimeError as error:
            what = f"{size} {kind} pieces cannot be learnt ({str(error).splitlines()[0]})"
            raise DataError("", "data.tokens", what, "Change the vocabulary's size, or choose words.") from None
        return cls(kind, model.getvalue())

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": self.model}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def encode(self, text: str) -> list[int]:
        """The pieces of a text."""
        return list(self._processor.encode(text))

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of pieces."""
        return str(self._processor.decode([number if number < len(self) else UNK for number in numbers]))

    def name(self, number: int) -> str:
        """The piece; one that begins a word begins with ▁."""
        return str(self._processor.id_to_piece(number if number < len(self) else UNK))

    def to_plain(self) -> dict[str, str | list[str]]:
        """Sentencepiece's model, as text."""
        return {"kind": self.kind, "model": base64.b64encode(self.model).decode()}

    @functools.cached_property
    def hash(self) -> str:
        """Of sentencepiece's model."""
        return _hash(self.to_plain())


class Characters:
    """Characters, spaces among them.

    Args:
        characters: without the special tokens; their numbers follow from their order.
    """

    kind, between = "characters", ""

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        self._numbers = {one: number for number, one in enumerate(self.characters, len(SPECIAL))}

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> "Characters":
        """The most frequent ones of some texts; of equally frequent ones the first by its code."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(cls.cut(text))
        del counts[SPECIAL[UNK]]
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([one for one, _ in ranked[: size - len(SPECIAL)]])

    @staticmethod
    def cut(text: str) -> Sequence[str]:
        """The tokens of a text."""
        return text

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.characters)

    def encode(self, text: str) -> list[int]:
        """The characters of a text; what is not in the vocabulary is UNK."""
        return [self._numbers.get(one, UNK) for one in self.cut(text)]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of characters."""
        return self.between.join(self.name(number) for number in numbers)

    def name(self, number: int) -> str:
        """The character."""
        if number >= len(self):
            return SPECIAL[UNK]
        return SPECIAL[number] if number < len(SPECIAL) else self.characters[number - len(SPECIAL)]

    def to_plain(self) -> dict[str, str | list[str]]:
        """The characters."""
        return {"kind": self.kind, "characters": self.characters}

    @functools.cached_property
    def hash(self) -> str:
        """Of the characters in their order."""
        return _hash(self.to_plain())


class Spaced(Characters):
    """What stands between spaces, of a text that has been cut into tokens; `<unk>` is the special token.

    Args:
        characters: the tokens without the special ones; their numbers follow from their order.
    """

    kind, between = "spaced", " "

    @staticmethod
    def cut(text: str) -> Sequence[str]:
        """The tokens of a text."""
        return text.split()


class Bytes:
    """The bytes of UTF-8, all 256 of them."""

    def __len__(self) -> int:
        return len(SPECIAL) + 256

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return [len(SPECIAL) + byte for byte in text.encode()]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of bytes; what is no UTF-8, and numbers that are no bytes, become the sign of replacement."""
        found = (number - len(SPECIAL) for number in numbers)
        return bytes(byte if 0 <= byte < 256 else 0xFF for byte in found).decode(errors="replace")

    def name(self, number: int) -> str:
        """The character, where a byte is one; else its two hexadecimal digits."""
        if not len(SPECIAL) <= number < len(self):
            return SPECIAL[number] if number < len(SPECIAL) else SPECIAL[UNK]
        byte = number - len(SPECIAL)
        return chr(byte) if 0x20 <= byte < 0x7F else f"{byte:02x}"

    def to_plain(self) -> dict[str, Any]:
        """That they are bytes."""
        return {"kind": "bytes"}

    @functools.cached_property
    def hash(self) -> str:
        """Always the same."""
        return _hash(self.to_plain())


class Phrases:
    """Words in small letters, without marks, and phrases: words that are tokens only when they stand together.

    Args:
        words: without the special tokens; their numbers follow from their order.
        passes: phrases by the pass over the text in which they are joined, so that a later one is longer.
    """

    def __init__(self, words: Sequence[str], passes: Sequence[Sequence[str]] = ()) -> None:
        self.words, self.passes = list(words), [list(one) for one in passes]
        self._numbers = {word: number for number, word in enumerate(self.words, len(SPECIAL))}
        self._passes = [frozenset(one) for one in passes]

    @classmethod
    def learn(cls, texts: Sequence[str], size: int, min_count: int, search: phrases.Search) -> "Phrases":
        """The most frequent words and phrases of some texts; of equally frequent ones the first of the alphabet.

        Args:
            texts: of the training part.
            size: of the vocabulary, at most.
            min_count: times that a word must occur.
            search: for phrases.
        """
        lines = [_small_words(text) for text in texts]
        passes = []
        for _ in range(search.passes):
            found = phrases.found(lines, search)
            lines = [phrases.joined(line, found) for line in lines]
            passes.append(sorted(found))
        counts = Counter(word for line in lines for word in line)
        ranked = sorted(((n, word) for word, n in counts.items() if n >= min_count), key=lambda one: (-one[0], one[1]))
        return cls([word for _, word in ranked[: size - len(SPECIAL)]], passes)

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)

    def encode(self, text: str) -> list[int]:
        """The words and phrases of a text; those that are not in the vocabulary are left out, as word2vec does."""
        words = _small_words(text)
        for found in self._passes:
            words = phrases.joined(words, found)
        return [self._numbers[word] for word in words if word in self._numbers]

    def decode(self, numbers: Sequence[int]) -> str:
        """The words, spaces between."""
        return " ".join(self.name(number) for number in numbers)

    def name(self, number: int) -> str:
        """The word, or a phrase with `_` between its words."""
        if number >= len(self):
            return SPECIAL[UNK]
        return SPECIAL[number] if number < len(SPECIAL) else self.words[number - len(SPECIAL)]

    def to_plain(self) -> dict[str, Any]:
        """The words, and the phrases of each pass."""
        return {"kind": "phrases", "words": self.words, "passes": self.passes}

    @functools.cached_property
    def hash(self) -> str:
        """Of the words in their order, and of the phrases."""
        return _hash(self.to_plain())


SPELT = {one.kind: one for one in (Characters, Spaced)}


def learn(kind: str, texts: Iterable[str], size: int) -> Vocabulary:
    """A vocabulary of at most `size` tokens, from the texts of the training part.

    Raises:
        DataError: it cannot be learnt, or sentencepiece is not installed.
    """
    if kind in SPELT:
        return SPELT[kind].learn(texts, size)
    if kind == "bytes":
        if size < len(Bytes()):
            what = f"{size} tokens, and there are 256 bytes beside the four special tokens"
            raise DataError("", "data.vocab_size", what, f"Set {len(Bytes())}.")
        return Bytes()
    return Words.learn(texts, size) if kind == "words" else Pieces.learn(kind, texts, size)


def from_plain(plain: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that `to_plain` described.

    Raises:
        DataError: it is none.
    """
    try:
        if plain["kind"] == "words":
            return Words([str(word) for word in plain["words"]])
        if plain["kind"] in SPELT:
            return SPELT[plain["kind"]]([str(one) for one in plain["characters"]])
        if plain["kind"] == "bytes":
            return Bytes()
        if plain["kind"] == "phrases":
            passes = [[str(one) for one in found] for found in plain["passes"]]
            return Phrases([str(word) for word in plain["words"]], passes)
        return Pieces(plain["kind"], base64.b64decode(plain["model"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError("", "vocabulary", f"is damaged ({error})", "Make it again.") from None


def split_words(text: str) -> list[str]:
    """Words and marks of punctuation, with JOINER where a mark touches its neighbour."""
    found = list(TOKEN.finditer(text))
    words = []
    for at, match in enumerate(found):
        word = match[0]
        if MARK.fullmatch(word):
            after = found[at + 1] if at + 1 < len(found) else None
            left = at > 0 and found[at - 1].end() == match.start()
            # Of two marks that touch, the second says so.
            right = after is not None and after.start() == match.end() and not MARK.fullmatch(after[0])
            word = f"{JOINER * left}{word}{JOINER * right}"
        words.append(word)
    return words


def _small_words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def join_words(words: Iterable[str]) -> str:
    """The text of words and marks: as `split_words` found them, single spaces between."""
    text, free = [], False
    for word in words:
        left, right = word.startswith(JOINER), word.endswith(JOINER)
        text += [" " * (free and not left), word.strip(JOINER)]
        free = not right
    return "".join(text)


def _hash(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise DataError("", "sentencepiece", "is not installed", "Install the extra: dltk[text].") from None
    return sentencepiece
