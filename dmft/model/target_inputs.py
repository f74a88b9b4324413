"""Label functions of one's own, checked, and whether labels go with the law of the inputs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.user_functions import real_array, result_of
from dmft.model.classification import COMPONENT
from dmft.model.law_sources import SourcedFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dmft.model.input_laws import InputLaw
    from dmft.model.target import Target

__all__ = [
    "check_clusters",
    "check_inputs",
    "check_label",
    "own_label_values",
    "takes_component",
    "with_gaussian_latents",
]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]


def check_label(
    name: str,
    values: Callable[[Array, Array, Integers], Array],
    trial: tuple[Array, Array, Integers],
) -> None:
    """Raise unless labels are a function of the rows of z and eps, and of clusters.

    Parameters
    ----------
    name : str
    values : callable
        z (512, k), eps (512,) and clusters (512,), or (0,) without any, to labels (512,).
    trial : tuple
        Such arguments.
    """
    y = values(*trial)
    other = np.flatnonzero(values(*trial) != y)
    if other.size:
        raise ValueError(
            f"label {name!r} must give the same labels every time, but {other.size} of "
            "512 change when it is called again; noise comes from its argument eps"
        )
    # Fewer rows, in another order; matrix products then round differently.
    some = np.arange(300)[::-1]
    z, eps, component = trial
    chosen = component[some] if len(component) else component
    again = values(np.ascontiguousarray(z[some]), eps[some], chosen)
    same = np.isclose(again, y[some], rtol=1e-9, atol=1e-12 * float(np.max(np.abs(y))))
    if not same.all():
        at = int(np.argmin(same))
        raise ValueError(
            f"label {name!r} must depend on one row of z and one eps only, but the same "
            f"row gives {y[some][at]:.6g} among 512 and {again[at]:.6g} among 300 others"
        )


def own_label_values(label: Callable[..., Any], name: str, given: Sequence[Any]) -> Array:
    """Return the values of a label function at z (N, k), eps (N,), and clusters where it takes any.

    Raises
    ------
    ValueError
        If it fails, or returns anything but N finite real numbers.
    """
    z, eps = given[:2]
    n = len(z)
    failed = f"label {name!r} failed on z {z.shape}, eps {eps.shape}: "
    result = result_of(label, *(x.copy() for x in given), failed=failed)  # it may work in place
    expected = (
        f"label must return an array of shape (N,) = ({n},) from z (N,k) = {z.shape}, "
        "eps (N,); got "
    )
    try:
        y = np.array(real_array(result))
    except (TypeError, ValueError):
        made_of = getattr(result, "dtype", "other things")
        raise ValueError(
            f"{expected}{type(result).__name__} of {made_of}, not real numbers"
        ) from None
    if y.shape != (n,):
        raise ValueError(f"{expected}shape {y.shape}")
    bad = n - int(np.count_nonzero(np.isfinite(y)))
    if bad:
        raise ValueError(f"label returned non-finite values for {bad} of {n} samples")
    return y


def takes_component(label: object) -> bool:
    """Whether a label function takes the cluster as a third argument.

    Examples
    --------
    >>> takes_component(lambda z, eps, component: z[:, 0]), takes_component(lambda z, eps: z[:, 0])
    (True, False)
    """
    if isinstance(label, SourcedFunction):
        label = label.function
    if not callable(label):
        return False
    try:
        signature = inspect.signature(label)
    except (TypeError, ValueError):  # compiled functions may have none
        return False
    return _binds(signature, 3) and not _binds(signature, 2)


def _binds(signature: inspect.Signature, n: int) -> bool:
    try:
        signature.bind(*range(n))
    except TypeError:
        return False
    return True


def check_clusters(component: ArrayLike | None, n: int, name: str) -> Integers:
    """Return the clusters (n,) that a label depends on, as integers.

    Raises
    ------
    ValueError
        If there are none, or they are no n integers.
    """
    if component is None:
        raise ValueError(f"component must be given for labels {name!r} of a cluster")
    clusters = np.asarray(component)
    if clusters.shape != (n,) or clusters.dtype.kind not in "iu":
        raise ValueError(f"component must be {n} integers, got shape {clusters.shape}")
    return clusters.astype(np.intp, copy=False)


def check_inputs(target: Target, inputs: InputLaw | None) -> None:
    """Raise unless a law of the inputs has what the labels of a target depend on.

    Raises
    ------
    ValueError
        If there is another number of latent directions, or no cluster for labels of one.
    """
    n = 0 if inputs is None else inputs.n_components
    got = "Gaussian ones" if inputs is None else inputs.describe()
    if target.label == COMPONENT and n != 2:
        raise ValueError(
            "inputs must be a dmft.GaussianMixture of two clusters for classes 'component', got "
            f"{got} (for more clusters make labels -1 and +1 by a function of three arguments)"
        )
    if target.uses_component and (inputs is None or inputs.law != "gaussian-mixture"):
        raise ValueError(
            f"inputs must be a dmft.GaussianMixture for label {target.name!r}, whose third "
            f"argument is a cluster, got {got}"
        )
    if inputs is not None and inputs.n_latent not in (None, target.k):
        what = "means of" if inputs.law == "gaussian-mixture" else "a law for each of"
        raise ValueError(
            f"inputs must have {what} k = {target.k} latent coordinates, as the target has, got "
            f"{inputs.n_latent}"
        )


def with_gaussian_latents(target: Target) -> Target:
    """Return a target whose latents are standard Gaussian, whatever inputs it was given.

    Raises
    ------
    ValueError
        If its labels depend on a cluster.
    """
    if target.uses_component:
        raise ValueError(
            "target must not depend on clusters: exponents and delta_alg are those of labels of "
            f"standard Gaussian latents, got {target.description!r}"
        )
    return target.under(None)
