"""A constructor's signature as the schema of a section: names, types, defaults and help, read from source with `ast`.

Nothing is imported for it, so checking a recipe costs neither torch nor Lightning. Only what cannot be read this way
(a partial, a class made by a function) is imported and inspected, and not even that within `without_imports`.
"""

import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union

from dltk.errors import RecipeError
from dltk.recipe.kinds import Duration, describe
from dltk.recipe.yaml12 import flow

MAX_HOPS = 8  # of `from .x import Name` until the definition must have been reached


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()
_IMPORTS: ContextVar[bool] = ContextVar("imports", default=True)


@contextlib.contextmanager
def without_imports() -> Iterator[None]:
    """While it lasts, no code of others is executed: what their source does not tell counts as taking any setting."""
    token = _IMPORTS.set(False)
    try:
        yield
    finally:
        _IMPORTS.reset(token)


@dataclass(frozen=True)
class Unread:
    """A default that is an expression; the constructor itself fills it in."""

    text: str


@dataclass(frozen=True)
class Setting:
    """One argument of a constructor, or one field of a dataclass."""

    name: str  # as in a recipe
    argument: str  # as in Python: `global` is `global_` there
    kind: Any  # a typing form of plain types; Any where the annotation says more than a recipe can hold
    default: Any = REQUIRED  # REQUIRED, Unread, or a plain value
    help: str = ""

    @property
    def kind_text(self) -> str:
        """Its type in words."""
        return describe(self.kind)

    @property
    def default_text(self) -> str:
        """Its default as it would be written in a recipe."""
        if self.default is REQUIRED:
            return "required"
        return self.default.text if isinstance(self.default, Unread) else flow(self.default)


@dataclass(frozen=True)
class Schema:
    """The settings that a class, function or dataclass takes."""

    title: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    open: bool = False  # has **kwargs: unknown settings may be right

    def without(self, names: Iterable[str]) -> "Schema":
        """Less the arguments that are no settings."""
        gone = set(names)
        return replace(self, settings={key: item for key, item in self.settings.items() if item.argument not in gone})

    def joined(self, common: "Schema") -> "Schema":
        """With further settings that every thing of this sort takes."""
        return replace(self, settings={**common.settings, **self.settings})


def schema_of(target: str) -> Schema:
    """The settings of `package.module:Name`.

    Raises:
        RecipeError: there is no such module or name, or its source cannot be parsed.
    """
    module, name = split_target(target)
    return _schema(target, _stamp(_source_of(module)), module, name, _IMPORTS.get())


def split_target(target: str) -> tuple[str, str]:
    """Module and name of `package.module:Name`."""
    module, _, name = target.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
        raise RecipeError(
            "", "", f"'{target}' is no 'package.module:Name'", "Write it like 'my_package.my_module:MyNet'."
        )
    return module, name


def resolve(target: str) -> Any:
    """Import what `package.module:Name` names; packages in the current folder count.

    Raises:
        RecipeError: it cannot be imported, or its module has no such name.
    """
    module, name = split_target(target)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise RecipeError("", "", f"'{target}' cannot be imported: {error}", "Install what it needs.") from None
    if not hasattr(imported, name):
        raise _no_name(module, name, vars(imported))
    return getattr(imported, name)


# Finding the source -------------------------------------------------------------------------------------------------


def _source_of(module: str) -> Path | None:
    """The file of a module, without importing it or its parents; None where it has none (compiled, built in)."""
    top, *rest = module.split(".")
    spec = _top_spec(top)
    name = top
    for part in rest:
        name = f"{name}.{part}"
        places = None if spec is None else spec.submodule_search_locations
        spec = None if places is None else importlib.machinery.PathFinder.find_spec(name, list(places))
    if spec is None:
        remedy = "Check the name, install its package, or start dltk in the folder that holds it."
        raise RecipeError("", "", f"there is no module '{module}'", remedy)
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _top_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # __main__ and the like
        found = None
    return found or importlib.machinery.PathFinder.find_spec(name, [str(Path.cwd())])


def _stamp(path: Path | None) -> tuple[str, int, int]:
    """What changes when a file does, so that an edited file is read again."""
    if path is None:
        return ("", 0, 0)
    status = path.stat()
    return (str(path), status.st_mtime_ns, status.st_size)


class _Source:
    """One parsed Python file."""

    def __init__(self, module: str, path: Path) -> None:
        self.module, self.path = module, path
        text = path.read_text(encoding="utf-8")
        self.lines = text.splitlines()
        try:
            self.tree = ast.parse(text)
        except SyntaxError as error:
            raise RecipeError(f"{path}:{error.lineno}", "Python", str(error.msg), "Mend the file.") from None

    def statements(self) -> Iterator[ast.stmt]:
        """The top level, and what stands in its `if` and `try`."""
        queue: list[ast.stmt] = list(self.tree.body)
        for statement in queue:
            yield statement
            if isinstance(statement, ast.If | ast.Try):
                queue += statement.body + statement.orelse

    def names(self) -> Iterator[str]:
        """What the module defines or imports, as far as its top level tells."""
        for statement in self.statements():
            if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield statement.name
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                yield from _assigned(statement)
            elif isinstance(statement, ast.Import | ast.ImportFrom):
                yield from (alias.asname or alias.name for alias in statement.names)

    def package(self, level: int) -> str:
        """What the dots of `from ..x import y` stand for."""
        parts = self.module.split(".")
        keep = len(parts) - level + (1 if self.path.name == "__init__.py" else 0)
        return ".".join(parts[:keep])

    def comment(self, node: ast.AST) -> str:
        """The comment behind a definition, on its last line."""
        line = self.lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()  # type: ignore[attr-defined]
        found = re.match(r"\s*,?\s*#\s*(?!noqa|type:)(.*)", line)
        return found[1].strip() if found else ""


@lru_cache(maxsize=256)
def _parsed(module: str, stamp: tuple[str, int, int]) -> _Source:
    return _Source(module, Path(stamp[0]))


def _load(module: str) -> _Source | None:
    path = _source_of(module)
    return None if path is None else _parsed(module, _stamp(path))


def _definition(source: _Source | None, name: str, hops: int = 0) -> tuple[_Source, ast.stmt] | None:
    """The statement that defines a name, through `from x import y` and `import *`."""
    if source is None or hops > MAX_HOPS:
        return None
    stars = []
    for statement in source.statements():
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
            return source, statement
        if isinstance(statement, ast.Assign | ast.AnnAssign) and name in _assigned(statement):
            return source, statement
        if isinstance(statement, ast.ImportFrom):
            stars += [statement for alias in statement.names if alias.name == "*"]
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _definition(_imported(source, statement), alias.name, hops + 1)
    found = (_definition(_imported(source, star), name, hops + 1) for star in stars)
    return next((item for item in found if item), None)


def _imported(source: _Source, statement: ast.ImportFrom) -> _Source | None:
    parts = [source.package(statement.level)] if statement.level else []
    module = ".".join(parts + ([statement.module] if statement.module else []))
    try:
        return _load(module)
    except RecipeError:
        return None


def _assigned(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


# Reading a signature ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _schema(target: str, stamp: tuple[str, int, int], module: str, name: str, imports: bool) -> Schema:
    source = _load(module)
    found = _definition(source, name)
    if not found and source:
        _refuse_missing(source, name)
    schema = None
    if found and isinstance(found[1], ast.FunctionDef):
        schema = _of_function(found[0], found[1], name, _doc(found[1]))
    elif found and isinstance(found[1], ast.ClassDef):
        schema = _of_class(found[0], found[1])
    if schema is None and not imports:
        return Schema(name, open=True)
    return schema or _inspected(target, name)


def _refuse_missing(source: _Source, name: str) -> None:
    """A name that nothing in the module can have made is a mistake, and importing the module would only say so later.

    Raises:
        RecipeError: there is no such name.
    """
    text = "\n".join(source.lines)
    made = re.search(rf"\b({re.escape(name)}|__getattr__|globals|setattr|exec|vars|locals)\b|import \*", text)
    if made is None:
        raise _no_name(source.module, name, source.names())


def _of_class(source: _Source, node: ast.ClassDef) -> Schema | None:
    """A class's own constructor, its fields, or its parent's constructor; None where the source does not tell."""
    methods = {s.name: s for s in node.body if isinstance(s, ast.FunctionDef)}
    constructor = methods.get("__init__", methods.get("__new__"))
    if constructor is not None:
        first = constructor.args.args[:1]  # self, or cls
        own = _of_function(source, constructor, node.name, {**_doc(node), **_doc(constructor)})
        own = own.without(argument.arg for argument in first)
        parent = _of_parent(source, node) if own.open else None
        # Keywords that a class does not name itself are its parent's.
        return own if parent is None else replace(own.joined(parent), open=parent.open)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = _of_fields(source, node)
        parent = _of_parent(source, node)
        return fields if parent is None else fields.joined(parent)
    parent = _of_parent(source, node)
    if parent is not None:
        return replace(parent, title=node.name)
    plain = all(ast.unparse(base).rpartition(".")[2] in ("Module", "object") for base in node.bases)
    return Schema(node.name) if plain else None


def _of_parent(source: _Source, node: ast.ClassDef) -> Schema | None:
    for base in node.bases:
        found = _definition(source, base.id) if isinstance(base, ast.Name) else None
        if found and isinstance(found[1], ast.ClassDef) and found[1].name != "Module":
            return _of_class(found[0], found[1])
    return None


def _of_function(source: _Source, node: ast.FunctionDef, title: str, doc: Mapping[str, str]) -> Schema:
    spec = node.args
    positional = spec.posonlyargs + spec.args
    missing: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    defaults = [*missing, *spec.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    settings = []
    for argument, default in pairs:
        text = doc.get(argument.arg) or source.comment(default or argument)
        settings.append(_setting(source, argument.arg, argument.annotation, default, text))
    return Schema(title, {item.name: item for item in settings}, open=spec.kwarg is not None)


def _of_fields(source: _Source, node: ast.ClassDef) -> Schema:
    doc = _doc(node)
    settings = []
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            text = doc.get(name) or source.comment(statement)
            settings.append(_setting(source, name, statement.annotation, statement.value, text))
    return Schema(node.name, {item.name: item for item in settings})


def _setting(source: _Source, argument: str, kind: ast.expr | None, default: ast.expr | None, text: str) -> Setting:
    return Setting(
        name=argument.removesuffix("_"),
        argument=argument,
        kind=_kind(source, kind),
        default=REQUIRED if default is None else _default(source, default),
        help=text,
    )


def _default(source: _Source, node: ast.expr) -> Any:
    """A default's plain value; sequences as lists, for that is what a recipe holds."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("field"):
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "default" in given:
            return _default(source, given["default"])
        factory = ast.unparse(given["default_factory"]) if "default_factory" in given else ""
        return {"list": [], "dict": {}}.get(factory, Unread(factory)) if factory else REQUIRED
    if isinstance(node, ast.Name):
        found = _definition(source, node.id)
        if found and isinstance(found[1], ast.Assign | ast.AnnAssign) and found[1].value is not None:
            value = _default(found[0], found[1].value)
            return Unread(node.id) if isinstance(value, Unread) else value
    try:
        return _plain(ast.literal_eval(node))
    except ValueError:
        return Unread(ast.unparse(node))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{value!r} is no plain value")


_HEADING = re.compile(r"(Args|Arguments|Parameters|Attributes):\s*\Z")
_ENTRY = re.compile(r"\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


def _doc(node: ast.FunctionDef | ast.ClassDef) -> dict[str, str]:
    """The `Args:` block of a docstring: name to text."""
    lines = (ast.get_docstring(node) or "").splitlines()
    start = next((number for number, line in enumerate(lines) if _HEADING.match(line)), None)
    if start is None:
        return {}
    entries: dict[str, str] = {}
    name, indent = "", 0
    for line in lines[start + 1 :]:
        depth = len(line) - len(line.lstrip())
        if not line.strip():
            continue
        if depth == 0:
            break
        indent = indent or depth
        found = _ENTRY.match(line.strip()) if depth == indent else None
        if found:
            name = found[1]
            entries[name] = found[2].strip()
        elif name:
            entries[name] += " " + line.strip()
    return entries


# Types --------------------------------------------------------------------------------------------------------------

_NAMES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "None": None,
    "Path": str,
    "PathLike": str,
    "Duration": Duration,
    "list": list[Any],
    "List": list[Any],
    "tuple": list[Any],
    "dict": dict[str, Any],
    "Mapping": dict[str, Any],
}
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "set", "frozenset"}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}


def _kind(source: _Source | None, node: ast.expr | None) -> Any:
    """An annotation as a typing form of plain types; Any for what is none."""
    if isinstance(node, ast.Constant):
        return _kind(source, ast.parse(node.value, mode="eval").body) if isinstance(node.value, str) else node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_kind(source, node.left), _kind(source, node.right)])
    if isinstance(node, ast.Subscript):
        return _subscript(source, node)
    name = ast.unparse(node).rpartition(".")[2] if isinstance(node, ast.Name | ast.Attribute) else ""
    if name in _NAMES:
        return _NAMES[name]
    found = _definition(source, name) if isinstance(node, ast.Name) else None
    if found and isinstance(found[1], ast.Assign | ast.AnnAssign) and found[1].value is not None:
        return _kind(found[0], found[1].value)  # an alias such as `Activation = Literal["relu", "tanh"]`
    return Any


def _subscript(source: _Source | None, node: ast.Subscript) -> Any:
    name = ast.unparse(node.value).rpartition(".")[2]
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(item) for item in items)]
    kinds = [_kind(source, item) for item in items]
    if name == "Optional":
        return _union([*kinds, None])
    if name == "Union":
        return _union(kinds)
    if name in _LISTS:
        return list[kinds[0]]  # type: ignore[valid-type]
    if name in ("tuple", "Tuple"):
        return tuple[tuple(kinds)]  # type: ignore[misc]
    if name in _DICTS:
        return dict[str, kinds[-1]]  # type: ignore[valid-type]
    if name in ("Annotated", "Final", "Required"):
        return kinds[0]
    return Any


def _union(kinds: list[Any]) -> Any:
    """Less the alternatives that a recipe cannot hold, as in `float | Tensor`."""
    plain = [kind for kind in kinds if kind is not Any]
    return Any if not set(plain) - {None} else Union[tuple(plain)]  # noqa: UP007 - made from a list


# What ast cannot read -----------------------------------------------------------------------------------------------


def _inspected(target: str, title: str) -> Schema:
    """The signature of the imported thing."""
    thing = resolve(target)
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return Schema(title, open=True)
    settings, is_open = {}, False
    for name, argument in signature.parameters.items():
        if argument.kind is argument.VAR_KEYWORD:
            is_open = True
        elif argument.kind is not argument.VAR_POSITIONAL:
            settings[name.removesuffix("_")] = Setting(
                name.removesuffix("_"), name, _inspected_kind(argument.annotation), _inspected_default(argument.default)
            )
    return Schema(title, settings, is_open)


def _inspected_kind(annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    try:
        return _kind(None, ast.parse(text.replace("NoneType", "None"), mode="eval").body)
    except SyntaxError:
        return Any


def _inspected_default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return REQUIRED
    try:
        return _plain(default)
    except ValueError:
        return Unread(repr(default))


def _no_name(module: str, name: str, names: Iterable[str]) -> RecipeError:
    close = get_close_matches(name, [item for item in names if not item.startswith("_")], n=1)
    remedy = f"Did you mean '{close[0]}'?" if close else "Check the name."
    return RecipeError("", "", f"module '{module}' has no '{name}'", remedy)
