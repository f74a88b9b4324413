"""Source code of laws that a run file names: what a result keeps of it, never to be run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = ["LawSource", "SourcedFunction", "custom_entry"]


@dataclass(frozen=True)
class LawSource:
    """Source of a law: its name, its parameters, and the text of the file that has it.

    Parameters
    ----------
    name : str
        ``file.py:object`` or ``module.path:object``.
    sha256 : str
        Of the file; part of the identity of results and checkpoints.
    text : str or None
        The file; None if it is no Python source.
    parameters : mapping
        What the law was made with, in plain types.
    """

    name: str
    sha256: str
    text: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    #: Entries of a configuration.
    KEYS: ClassVar[tuple[str, ...]] = ("parameters", "sha256", "source")

    def to_config(self) -> dict[str, Any]:
        """Return the entries of a configuration, in plain types."""
        parameters = {"parameters": dict(self.parameters)} if self.parameters else {}
        return {**parameters, "sha256": self.sha256, "source": self.text}


@dataclass(frozen=True)
class SourcedFunction:
    """Function that a run file names, with its source: label, quantile function, preprocessing.

    Parameters
    ----------
    function : callable
        ``(z (N, k), eps (N,)) -> y (N,)``, perhaps of clusters (N,) too; ``u (N,) -> values (N,)``;
        or ``y (N,) -> T (N,)``.
    source : LawSource
    """

    function: Callable[..., Any] = field(compare=False)
    source: LawSource

    @property
    def __name__(self) -> str:
        return self.source.name

    def __call__(self, *arguments: Any) -> Any:
        """Return the values of the function."""
        return self.function(*arguments)


def custom_entry(function: object, name: str) -> dict[str, Any]:
    """Return the entry of a configuration for a function of one's own, with its source if known.

    Examples
    --------
    >>> custom_entry(abs, "abs")
    {'custom': 'abs'}
    """
    source = getattr(function, "source", None)
    return {"custom": name, **(source.to_config() if isinstance(source, LawSource) else {})}
