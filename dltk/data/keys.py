"""Keys of samples that are made when they are asked for: the texts of a billion would fill the memory."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload


class Keys(Sequence[str]):
    """A sequence of keys; a class of them says how many there are (`__len__`), and which stands where (`key`)."""

    @abstractmethod
    def key(self, at: int) -> str:
        """The key at a place, which is 0 or more and less than their number."""

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        places = range(len(self))[number]
        return self.key(places) if isinstance(places, int) else [self.key(at) for at in places]
