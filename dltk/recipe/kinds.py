"""Types of settings: what a value must be, in typing's own forms over plain Python types, and the words for them."""

import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from dltk.recipe.yaml12 import flow, scalar
from dltk.run.duration import Duration


def arms(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union; a kind that is none is its only one."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


_WORDS = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    None: "null",
    Duration: "a duration",
    Any: "any value",
}
_PLURALS = {int: "integers", float: "numbers", str: "texts", Duration: "durations"}


def describe(kind: Any) -> str:
    """A type in words, as in "3 is not a list of texts"."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return flow(inner[0]) if len(inner) == 1 else "one of " + ", ".join(map(flow, inner))
    if origin is list:
        return "a list" if inner[0] is Any else f"a list of {_PLURALS.get(inner[0], 'values')}"
    if origin is tuple:
        return "a list" if inner[-1] is Ellipsis else f"a list of {len(inner)} values"
    if origin is dict:
        return "a map"
    return " or ".join(describe(arm) for arm in arms(kind))


class Misfit(Exception):
    """A value that is not of the type asked for."""

    def __init__(self, what: str, remedy: str = "", path: str = "") -> None:
        """What is wrong, what to do, and where inside the value."""
        super().__init__(what)
        self.what, self.remedy, self.path = what, remedy, path


def conform(value: Any, kind: Any) -> Any:
    """The value, if it is of the type; integers become floats where a number is asked for.

    Raises:
        Misfit: it is not; booleans are no integers, text is no number, whatever it says.
    """
    if kind is Any:
        return value
    options = arms(kind)
    if len(options) > 1:
        return _conform_union(value, kind, options)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in inner):
            raise Misfit(*_wrong_choice(value, inner))
        return value
    if origin in (list, tuple) and isinstance(value, list):
        return _conform_items(value, kind)
    if origin is dict and isinstance(value, dict):
        return {key: _inside(item, inner[1], key) for key, item in value.items()}
    return _conform_plain(value, kind)


def _conform_union(value: Any, kind: Any, options: tuple[Any, ...]) -> Any:
    faults = []
    # An integer stays one where both are allowed.
    for option in sorted(options, key=lambda option: option is float):
        try:
            return conform(value, option)
        except Misfit as fault:
            faults.append((option, fault))
    likely = [fault for option, fault in faults if option not in (None, type(None))]
    nested = [fault for fault in likely if fault.path]
    if len(likely) == 1 and (nested or get_origin(faults[0][0]) is Literal):
        raise likely[0]
    if nested:
        raise nested[0]
    raise Misfit(f"{flow(value)} is not {describe(kind)}", likely[0].remedy)


def _conform_items(value: list[Any], kind: Any) -> list[Any]:
    inner = get_args(kind)
    if get_origin(kind) is tuple and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise Misfit(f"{flow(value)} has {len(value)} values, {len(inner)} are needed")
        kinds: Iterable[Any] = inner
    else:
        kinds = [inner[0]] * len(value)
    return [_inside(item, item_kind, str(i)) for i, (item, item_kind) in enumerate(zip(value, kinds, strict=True))]


def _inside(value: Any, kind: Any, path: str) -> Any:
    try:
        return conform(value, kind)
    except Misfit as fault:
        raise Misfit(fault.what, fault.remedy, f"{path}.{fault.path}".rstrip(".")) from None


def _conform_plain(value: Any, kind: Any) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return float(value)
    if kind is Duration and isinstance(value, str):
        try:
            return str(Duration(value))
        except ValueError:
            raise Misfit(f"{flow(value)} is not a duration", "Write it like 24:00:00, 2-12:00 or 90m.") from None
    if kind in (None, type(None)):
        if value is None:
            return None
    elif kind in (int, str, bool) and type(value) is kind:
        return value
    raise Misfit(f"{flow(value)} is not {describe(kind)}", _type_remedy(value, kind))


def _type_remedy(value: Any, kind: Any) -> str:
    """What to write instead, where that is plain."""
    if kind is Duration:
        return "Write it like 24:00:00, 2-12:00 or 90m."
    if kind is str and value is not None and not isinstance(value, list | dict):
        return f"Put it in quotes: {flow(str(flow(value)))}."
    if kind is bool:
        return "Write true or false."
    if kind is int and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    if kind in (int, float) and isinstance(value, str):
        number = scalar(value.replace("_", ""))
        if type(number) is int or (kind is float and type(number) is float):
            return f"Write {number}, without {'underscores' if '_' in value else 'quotes'}."
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list and not isinstance(value, list | dict):
        return f"Write [{value if isinstance(value, str) else flow(value)}]."
    return f"Write {describe(kind)}." if not inner else ""


def _wrong_choice(value: Any, choices: Iterable[Any]) -> tuple[str, str]:
    texts = {str(choice): choice for choice in choices}
    close = get_close_matches(str(value), texts, n=1)
    question = f"Did you mean {flow(texts[close[0]])}? " if close else ""
    return f"{flow(value)} is not a choice", f"{question}Choices: {', '.join(map(flow, texts.values()))}."
