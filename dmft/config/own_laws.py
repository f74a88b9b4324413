"""Labels, activations and losses of one's own, named in a run file as ``file.py:object``.

A file of Python is run only because the run file or the command line names it; result files hold
its text, which nothing runs.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dmft._numerics.frozen import set_fields
from dmft._numerics.user_functions import result_of
from dmft.config.options import one_line
from dmft.model.activations import get_activation
from dmft.model.law_sources import LawSource, SourcedFunction
from dmft.model.losses import get_loss

__all__ = ["anchored", "is_own", "own_law"]

_PYTHON = "python"  # key of a table that names an own law
_LARGEST = 2**20  # bytes of a source file
#: Arguments of a law of each kind.
_ARGUMENTS = {
    "label": ("z", "eps"),
    "activation": ("r",),
    "loss": ("f", "y"),
    "quantile": ("u",),
    "preprocessing": ("y",),
}
_OF_CLUSTERS = ("z", "eps", "component")  # of labels that see the cluster
_CATALOGUE: dict[str, Callable[[Any], Any]] = {"activation": get_activation, "loss": get_loss}


def is_own(entry: object) -> bool:
    """Whether an entry of a run file names a law in Python, not one of a catalogue.

    Examples
    --------
    >>> is_own("acts.py:swish"), is_own({"python": "acts.py:swish", "beta": 2}), is_own("gelu")
    (True, True, False)
    """
    if isinstance(entry, Mapping):
        return _PYTHON in entry
    return isinstance(entry, str) and (":" in entry or entry.endswith(".py"))


def anchored(entry: Any, folder: str | os.PathLike[str]) -> Any:
    """Return an entry, or a list of such, whose file is found from any folder if it names one.

    Examples
    --------
    >>> anchored("acts.py:swish", "/home/me"), anchored("gelu", "/home/me")
    ('/home/me/acts.py:swish', 'gelu')
    """
    if isinstance(entry, list):
        return [anchored(one, folder) for one in entry]
    if not is_own(entry):
        return entry
    if isinstance(entry, Mapping):
        return {**entry, _PYTHON: anchored(entry[_PYTHON], folder)}
    place, colon, name = entry.rpartition(":")
    return f"{os.path.join(folder, place)}:{name}" if colon and place.endswith(".py") else entry


def own_law(kind: str, entry: str | Mapping[str, Any], folder: str | os.PathLike[str]) -> Any:
    """Import a law that a run file names.

    Parameters
    ----------
    kind : {"label", "activation", "loss", "quantile", "preprocessing"}
    entry : str or mapping
        ``file.py:object``, ``module.path:object``, or a table with such a text as ``python`` and
        parameters beside it.
    folder : path-like
        Where files are looked for.

    Returns
    -------
    SourcedFunction, Activation or Loss
        With its source. Of a plain function of r, or of f and y, derivatives are numerical; the
        object may also be an `Activation` or `Loss`, or make one, or a function, from parameters.

    Raises
    ------
    ValueError
        If there is no such file, module or object, it fails, or is none of these.
    """
    parameters = dict(entry) if isinstance(entry, Mapping) else {}
    reference = parameters.pop(_PYTHON, entry)
    place, colon, name = reference.rpartition(":") if isinstance(reference, str) else ("", "", "")
    if not colon:
        place, name = str(reference), ""
    if not (place and name.isidentifier()):
        raise ValueError(
            f"{kind} of your own must be file.py:object or module.path:object, "
            f"got {one_line(repr(reference))}"
        )
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(
            f"parameters of {kind} {reference!r} must be finite numbers, strings, true, false, or "
            "arrays and tables of these"
        ) from None
    short = f"{Path(place).name if place.endswith('.py') else place}:{name}"
    label = f"{kind} {short!r}"
    module, data, text = (_of_file if place.endswith(".py") else _of_module)(label, place, folder)
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if callable(value) and key[:1] != "_"]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{label}: there is no {name!r} in {place}{hint}")
    shown = ", ".join(f"{key}={value}" for key, value in parameters.items())
    called = f"{short}({one_line(shown)})" if shown else short
    source = LawSource(called, hashlib.sha256(data).hexdigest(), text, parameters)
    return _law(kind, label, source, module, name)


@functools.lru_cache(maxsize=256)
def _law(kind: str, label: str, source: LawSource, module: ModuleType, name: str) -> Any:
    """Return the law that a name in a module stands for, the same object each time."""
    return _described(kind, _made(kind, label, getattr(module, name), source.parameters), source)


# -- modules -------------------------------------------------------------------------------------


def _of_file(
    label: str, place: str, folder: str | os.PathLike[str]
) -> tuple[ModuleType, bytes, str | None]:
    """Return the module of a file, its contents and its text."""
    path = Path(folder, place)
    try:
        with path.open("rb") as stream:  # which may have no end
            data = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{label}: cannot read {path}: {reason}") from None
    if len(data) > _LARGEST:
        raise ValueError(f"{label}: {path} must have at most {_LARGEST} bytes")
    with _reported(label, str(path)):
        return _executed(str(path.absolute()), data), data, _text(data)


@functools.lru_cache(maxsize=32)
def _executed(path: str, data: bytes) -> ModuleType:
    """Return a module made by running a file, once while it does not change."""
    module = ModuleType(f"_own_{hashlib.sha256(data).hexdigest()[:16]}")
    module.__file__ = path
    folder = str(Path(path).parent)
    sys.path.append(folder)  # last: what lies beside it hides no library
    # Known only while it runs: workers are then sent its functions, not its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(data, path, "exec"), vars(module))
    finally:
        sys.modules.pop(module.__name__, None)
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    return module


def _of_module(
    label: str, place: str, folder: str | os.PathLike[str]
) -> tuple[ModuleType, bytes, str | None]:
    """Return a module of the installation, its contents and its text."""
    if not all(part.isidentifier() for part in place.split(".")):
        raise ValueError(f"{label}: {one_line(place)!r} is neither a file.py nor a module.path")
    with _reported(label, place, Path(folder, f"{place.replace('.', '/')}.py")):
        module = importlib.import_module(place)
    data = _contents(module)
    return (
        module,
        data,
        _text(data) if str(module.__dict__.get("__file__")).endswith(".py") else None,
    )


@functools.cache
def _contents(module: ModuleType) -> bytes:
    """Return the file of a module as it was when first asked for; its name where it has none."""
    file = getattr(module, "__file__", None)
    return Path(file).read_bytes() if file else f"{module.__name__} {sys.version}".encode()


def _text(data: bytes) -> str | None:
    try:
        return importlib.util.decode_source(data)
    except (UnicodeDecodeError, SyntaxError):
        return None


@contextlib.contextmanager
def _reported(label: str, place: str, beside: Path | None = None) -> Iterator[None]:
    """Report what goes wrong in a module, and in which line of a file."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and place.startswith(str(error.name)):
            hint = f" (did you mean {beside.name}?)" if beside and beside.is_file() else ""
            raise ValueError(f"{label}: there is no module {place!r}{hint}") from None
        line = error.lineno if isinstance(error, SyntaxError) else None
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == os.path.abspath(place):
                line = frame.lineno
        where = "" if line is None else f"line {line}: "
        said = f"{type(error).__name__}: {one_line(str(error))}"
        raise ValueError(f"{label}: {where}{said}") from error


# -- objects -------------------------------------------------------------------------------------


def _made(kind: str, label: str, given: Any, parameters: Mapping[str, Any]) -> Any:
    """Return the function or the law that an object is, or makes from parameters."""
    is_class = isinstance(given, type)  # which is no function of r, whatever it takes
    if not is_class and _is_law(kind, given):
        if parameters:
            raise ValueError(f"{label}: it is made already, and takes no {next(iter(parameters))}")
        return given
    if not callable(given):
        raise ValueError(f"{label} must be a function, got {type(given).__name__}")
    arguments = _ARGUMENTS[kind]
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # compiled functions may have none
        signature = None
    if kind == "label" and _binds(signature, _OF_CLUSTERS, parameters):
        arguments = _OF_CLUSTERS if not _binds(signature, arguments, parameters) else arguments
    called = not is_class and _binds(signature, arguments, parameters)
    makes = signature is not None and _binds(signature, (), parameters)
    if not called and not makes:
        raise ValueError(
            f"{label} must take ({', '.join(arguments)}), or make such a function from parameters"
            f"{_at_fault(signature, 0 if is_class else len(arguments), parameters)}; "
            f"it takes {signature}"
        )
    function = functools.partial(given, **parameters) if parameters else given
    if not makes:
        return function
    try:
        result = result_of(function, failed=f"{label} failed: ")
    except ValueError:
        if called:  # all arguments of a function have defaults
            return function
        raise
    if _is_law(kind, result) or (callable(result) and _binds_any(result, arguments)):
        return result
    if kind == "label" and callable(result) and _binds_any(result, _OF_CLUSTERS):
        return result
    if called:
        return function
    raise ValueError(
        f"{label} must make a function of ({', '.join(arguments)}), got {type(result).__name__}"
    )


def _at_fault(
    signature: inspect.Signature | None, n_arguments: int, parameters: Mapping[str, Any]
) -> str:
    """Name a parameter that is not taken, or one that is missing."""
    taken = {} if signature is None else dict(signature.parameters)
    for key in parameters:
        if key not in taken:
            near = difflib.get_close_matches(key, taken, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            return f"; {one_line(key)} is none of its parameters{hint}"
    missing = [key for key, entry in taken.items()
               if entry.default is entry.empty and key not in parameters
               and entry.kind not in (entry.VAR_POSITIONAL, entry.VAR_KEYWORD)]  # fmt: skip
    if len(missing) > n_arguments:
        return f"; {missing[n_arguments]} has no value"
    return ""


def _binds(
    signature: inspect.Signature | None, arguments: tuple[str, ...], parameters: Mapping[str, Any]
) -> bool:
    if signature is None:
        return not parameters
    try:
        signature.bind(*arguments, **parameters)
    except TypeError:
        return False
    return True


def _binds_any(function: Any, arguments: tuple[str, ...]) -> bool:
    try:
        return _binds(inspect.signature(function), arguments, {})
    except (TypeError, ValueError):
        return True


def _is_law(kind: str, given: Any) -> bool:
    return kind in _CATALOGUE and callable(getattr(given, "value", None))


def _described(kind: str, found: Any, source: LawSource) -> Any:
    """Return the law with its name and source."""
    if kind not in _CATALOGUE:
        return SourcedFunction(found, source)
    if not _is_law(kind, found):
        found = _Plain(found, source.name)
    try:
        law = _CATALOGUE[kind](found)
    except ValueError as error:
        named = f"{kind} {source.name!r}"
        raise ValueError(str(error) if named in str(error) else f"{named}: {error}") from error
    if law.in_catalogue or law.in_family:
        return law
    law = copy.copy(law)
    set_fields(law, name=source.name, source=source)
    return law


class _Plain:
    """A function alone, as catalogues take it."""

    def __init__(self, value: Callable[..., Any], name: str) -> None:
        self.value, self.name = value, name
