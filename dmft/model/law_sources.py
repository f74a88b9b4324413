"""Source code of laws that a run file names: what a result keeps of it, never to be run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = ["LawSource", "SourcedLabel", "SourcedQuantile"]


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
class SourcedLabel:
    """Label function that a run file names, with its source.

    Parameters
    ----------
    function : callable
        ``(z (N, k), eps (N,)) -> y (N,)``, perhaps of clusters (N,) too.
    source : LawSource
    """

    function: Callable[..., Any] = field(compare=False)
    source: LawSource

    @property
    def __name__(self) -> str:
        return self.source.name

    def __call__(self, z: Any, eps: Any, *component: Any) -> Any:
        """Return the labels."""
        return self.function(z, eps, *component)


@dataclass(frozen=True)
class SourcedQuantile:
    """Quantile function that a run file names, with its source.

    Parameters
    ----------
    function : callable
        ``u (N,) -> values (N,)``.
    source : LawSource
    """

    function: Callable[..., Any] = field(compare=False)
    source: LawSource

    @property
    def __name__(self) -> str:
        return self.source.name

    def __call__(self, u: Any) -> Any:
        """Return the quantiles."""
        return self.function(u)
