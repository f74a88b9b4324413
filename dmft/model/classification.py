r"""Labels -1 and +1 drawn from a real function of the latent coordinates.

With :math:`u = \varphi(z) - \text{threshold}` the probability of the label +1 is

============ ==================================================================
law          :math:`P(y = 1 \mid z)`
============ ==================================================================
``sign``     :math:`1 - p` where :math:`u \ge 0`, p elsewhere: the sign of u, flipped
             with probability p
``logistic`` :math:`1/(1 + e^{-\beta u})`, :math:`\beta` the slope
============ ==================================================================

The law ``component`` is the sign of the cluster of a mixture of two: u = -1 in the first, +1 in the
second.

A label is a function of z and the noise :math:`\varepsilon \sim N(0, 1)` all the same: +1 where
the uniform number :math:`\Phi(\varepsilon)` lies below that probability. Averages over the noise
are sums of two terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice, check_real, own_parameter
from dmft.model.catalogue import law_name

__all__ = ["COMPONENT", "LAWS", "ClassLaw", "describe_label"]

Array = NDArray[np.float64]

#: Laws, each with the name of its parameter and that parameter's default.
LAWS: dict[str, tuple[str, float]] = {"sign": ("flip", 0.0), "logistic": ("slope", 1.0)}
#: Law, and label, of the cluster of a mixture; its parameter is that of the sign.
COMPONENT = "component"


@dataclass(frozen=True)
class ClassLaw:
    """Law of a label -1 or +1 given a real number.

    Parameters
    ----------
    law : {"sign", "logistic", "component"}
    threshold : float
        The number at which both labels are equally likely, or the sign changes.
    flip : float or None
        Probability of a flip, 0 <= flip < 1/2; of ``sign`` and ``component`` only.
    slope : float or None
        Positive; of ``logistic`` only.

    Examples
    --------
    >>> law = ClassLaw.of("sign", flip=0.1)
    >>> law.probability(np.array([-2.0, 0.5]))
    array([0.1, 0.9])
    """

    law: str
    threshold: float
    flip: float | None
    slope: float | None

    @classmethod
    def of(
        cls,
        law: str | None,
        threshold: float | None = None,
        flip: float | None = None,
        slope: float | None = None,
    ) -> ClassLaw | None:
        """Check the settings and fill in defaults; return None for labels that are no classes.

        Raises
        ------
        ValueError
            If there is no such law, a parameter is out of range, or belongs to the other law.
        """
        if law is None:
            for name, value in (("threshold", threshold), ("flip", flip), ("slope", slope)):
                if value is not None:
                    raise ValueError(f"{name} must be left out without classes, got {value!r}")
            return None
        law = check_choice("classes", law, (*LAWS, COMPONENT))
        if law == COMPONENT and threshold is not None:
            raise ValueError(
                f"threshold must be left out for classes {COMPONENT!r}, got {threshold!r}"
            )
        kind = "sign" if law == COMPONENT else law
        own = own_parameter("classes", kind, LAWS, {"flip": flip, "slope": slope})
        assert own is not None
        if kind == "sign":
            flip = check_real("flip", own[1], minimum=0.0)
            if flip >= 0.5:
                raise ValueError(
                    "flip must be at least 0 and less than 1/2 (at 1/2 labels say nothing), "
                    f"got {flip:g}"
                )
        else:
            slope = check_real("slope", own[1], minimum=0.0, exclusive=True)
        level = check_real("threshold", 0.0 if threshold is None else threshold)
        return cls(law, level, flip, slope)

    @property
    def is_random(self) -> bool:
        """Whether a label is more than a function of the number."""
        return self.law == "logistic" or self.flip != 0.0

    def probability(self, values: Array) -> Array:
        """Return the probability of the label +1 at each of `values`, of the same shape."""
        from scipy.special import expit

        u = values - self.threshold
        if self.law == "logistic":
            assert self.slope is not None  # of() has seen to it
            return np.asarray(expit(self.slope * u))
        assert self.flip is not None
        return np.where(u >= 0.0, 1.0 - self.flip, self.flip)

    def draw(self, values: Array, eps: Array) -> Array:
        """Draw labels -1.0 and +1.0 at `values`, with standard normal noise `eps`, same shapes."""
        from scipy.special import ndtr

        probability = self.probability(values)
        # A certain label is certain also where Phi(eps) rounds to 1.
        up = (ndtr(eps) < probability) | (probability == 1.0)
        return np.where(up, 1.0, -1.0)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as keyword arguments of `dmft.Target`."""
        if self.law == COMPONENT:
            return {"classes": self.law, "flip": self.flip}
        own = LAWS[self.law][0]
        return {"classes": self.law, own: getattr(self, own), "threshold": self.threshold}


def describe_label(target: Mapping[str, Any]) -> str:
    """Name the labels that a target's ``to_config`` describes, on one line.

    Examples
    --------
    >>> describe_label({"label": "linear", "classes": "sign", "flip": 0.1, "threshold": 0.0})
    'sign of linear (flip 0.1)'
    >>> describe_label({"label": "phase-retrieval", "classes": "logistic", "slope": 2.0,
    ...                 "threshold": 1.0})
    'logistic classes of phase-retrieval - 1 (slope 2)'
    """
    name = law_name(target["label"])
    law = target.get("classes")
    if law is None:
        return name
    if law == COMPONENT:
        flip = target["flip"]
        return "cluster" + (f" (flip {flip:g})" if flip else "")
    level = target["threshold"]
    if level:
        name += f" {'-' if level > 0.0 else '+'} {abs(level):g}"
    own = LAWS[law][0]
    how = "sign of" if law == "sign" else "logistic classes of"
    return f"{how} {name}" + (f" ({own} {target[own]:g})" if target[own] else "")
