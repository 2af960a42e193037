"""YAML 1.2 for recipes: PyYAML's parser with the scalars of the 1.2 core schema, and a line for every key.

PyYAML itself reads YAML 1.1, where `no` is false, `24:00:00` is 86400, `010` is 8 and `1e-3` is text. Here only
true/false (and their two capitalised forms) are booleans, numbers are what they look like, and all else is text.
Source: YAML 1.2.2, section 10.3.2.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from dltk.errors import RecipeError

MAX_CHARACTERS = 1_000_000
MAX_VALUES = 10_000  # after aliases are written out, so that ten lines cannot stand for 10^9 values
MAX_DEPTH = 40

Lines = dict[str, str]  # dotted key -> "file:line"; the third item of list x has the key x.2

_NULL = re.compile(r"(null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z", re.ASCII
)


def scalar(text: str) -> bool | int | float | str | None:
    """What an unquoted word stands for."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def read(text: str, where: str) -> tuple[Any, Lines]:
    """The value that a YAML text holds, and the line of each of its keys.

    Raises:
        RecipeError: the text is no YAML, repeats a key, uses a tag, or is unreasonably large.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(where, "YAML", f"{len(text)} characters, a recipe has at most {MAX_CHARACTERS}")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, where) from None
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, error.position)
        what = f"the character {chr(error.character)!r} is not allowed"
        raise RecipeError(f"{where}:{line}", "YAML", what, "Remove it.") from None
    except RecursionError:
        raise RecipeError(where, "YAML", "brackets stand too deep in one another", "Check the brackets.") from None
    build = _Build(where)
    return (None if root is None else build.value(root, "")), build.lines


def read_value(text: str, where: str) -> Any:
    """The value of an override: a list, map or quoted text in YAML's flow style, else one word or plain text.

    Plain text needs no quotes, whatever it holds: spaces, `=`, `#`, `: `.
    """
    text = text.strip()
    if text.startswith(("[", "{", '"', "'")):
        try:
            return read(text, "")[0]
        except RecipeError as error:
            raise RecipeError(where, "", error.what, "Close brackets and quotes, or quote the whole text.") from None
    return scalar(text)


def write(value: Any) -> str:
    """YAML that `read` reads back to the same value; so does a YAML 1.1 reader."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def flow(value: Any) -> str:
    """A value on one line, as it would be written in a recipe; text always in quotes."""
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


class _Resolver(BaseResolver):
    """Plain words get their type in `_Build`; here all are text."""


class _Loader(Reader, Scanner, Parser, Composer, _Resolver):
    """PyYAML's parser up to the tree of nodes; no constructors, so nothing can be executed."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node without a tag.

        Raises:
            yaml.composer.ComposerError: it has one.
        """
        event = self.peek_event()
        if tag := getattr(event, "tag", None):
            raise yaml.composer.ComposerError(None, None, f"tags such as {tag!r} are not allowed", event.start_mark)
        return super().compose_node(parent, index)


class _Build:
    """Turns nodes into plain Python, and notes the line of every key."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: Lines = {}
        self.values = 0

    def value(self, node: yaml.Node, key: str) -> Any:
        """A node's value; aliases are copied, not shared."""
        self.values += 1
        if self.values > MAX_VALUES or key.count(".") > MAX_DEPTH:
            raise self._error(node, "YAML", "aliases or brackets make it too large", "Write it out without aliases.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self._at(item, item, _join(key, str(i))) for i, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _at(self, mark: yaml.Node, node: yaml.Node, key: str) -> Any:
        self.lines.setdefault(key, self._place(mark))
        return self.value(node, key)

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first: dict[str, int] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                raise self._error(name_node, key or "YAML", "a key is a list or a map", "Give the key as one word.")
            name = name_node.value
            if name in result:
                what = f"'{name}' stands twice, first in line {first[name]}"
                raise self._error(name_node, _join(key, name), what, "Remove one of them.")
            first[name] = name_node.start_mark.line + 1
            result[name] = self._at(name_node, value_node, _join(key, name))
        return result

    def _scalar(self, node: yaml.Node, key: str) -> Any:
        if node.style is not None:  # quoted, or a block of text
            return node.value
        try:
            return scalar(node.value)
        except ValueError:  # Python refuses integers of more than 4300 digits
            raise self._error(node, key, f"a number of {len(node.value)} digits", "Write a shorter one.") from None

    def _place(self, node: yaml.Node) -> str:
        return f"{self.where}:{node.start_mark.line + 1}"

    def _error(self, node: yaml.Node, key: str, what: str, remedy: str) -> RecipeError:
        return RecipeError(self._place(node), key, what, remedy)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _syntax_error(error: yaml.MarkedYAMLError, where: str) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    place = f"{where}:{mark.line + 1}" if mark else where
    problem = error.problem or "cannot be read"
    if "\\t" in problem:
        return RecipeError(place, "YAML", "a tab stands at the beginning of a line", "Indent with spaces.")
    if "tags such as" in problem:
        return RecipeError(place, "YAML", problem, "Write the plain value.")
    context = f" ({error.context})" if error.context else ""
    remedy = "Check the indentation, the colons and the quotes here and in the line above."
    return RecipeError(place, "YAML", problem + context, remedy)


class _Dumper(yaml.SafeDumper):
    """Blocks for maps, one line for a list of plain values, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # SafeDumper quotes by itself what YAML 1.1 would take for something else; 1.2's own forms are added here.
    style = "'" if len(text) < 100 and not isinstance(scalar(text), str) else None
    if text and text.splitlines() != [text]:  # its blocks and single quotes lose rare line ends
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: _Dumper, items: Iterable[Any]) -> yaml.Node:
    items = list(items)
    plain = not any(isinstance(item, dict | list | tuple) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
