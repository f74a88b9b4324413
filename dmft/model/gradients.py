r"""Gradient, curvature and loss of a sample as functions of its pre-activations.

For one sample with pre-activations :math:`r \in R^m`, label :math:`y` and network output
:math:`f = \sum_j a_j \sigma(r_j)` the loss is :math:`\ell(r, y) = L(f, y)`, and

.. math::

    g_j &= \partial\ell/\partial r_j = L'(f, y)\, a_j \sigma'(r_j) \\
    D_{jl} &= \partial^2\ell/\partial r_j \partial r_l
            = L''(f, y)\, a_j a_l \sigma'(r_j) \sigma'(r_l)
            + 1[j = l]\, L'(f, y)\, a_j \sigma''(r_j),

with :math:`r_j + b_j` in place of :math:`r_j` in f, g and D where the network has biases.

Samples are columns. Catalogue activations with catalogue losses run compiled (serial, releasing the
GIL, the same bits every time); anything else runs through the numpy callables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.user_functions import real_array
from dmft._numerics.validation import as_array

if TYPE_CHECKING:
    from dmft._numerics import kernels
    from dmft.model.losses import Loss
    from dmft.model.problem import Problem

__all__ = [
    "compiled_law",
    "curvature",
    "curvature_bound",
    "mean_loss",
    "pre_activation_gradient",
    "second_layer_gradient",
]

Array = NDArray[np.float64]


def pre_activation_gradient(
    problem: Problem,
    r: ArrayLike,
    y: ArrayLike,
    *,
    out: Array | None = None,
    loss_out: Array | None = None,
) -> tuple[Array, Array]:
    r"""Compute gradient :math:`g = \partial\ell/\partial r` and loss of every sample.

    Parameters
    ----------
    problem : Problem
        Supplies activation, second layer and loss.
    r : array_like, shape (m, N)
        Pre-activations, one column per sample.
    y : array_like, shape (N,)
        Labels.
    out : ndarray, shape (m, N), float64, optional
        Receives the gradient; may be `r` itself.
    loss_out : ndarray, shape (N,), float64, optional
        Receives the losses.

    Returns
    -------
    g : ndarray, shape (m, N)
    loss : ndarray, shape (N,)

    Raises
    ------
    ValueError
        If a shape is wrong, or a custom activation or loss returns a wrong shape.

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem(target="phase-retrieval", network={"activation": "quadratic"})
    >>> g, loss = pre_activation_gradient(problem, [[1.0, 2.0]], [0.0, 4.0])
    >>> g
    array([[2., 0.]])
    >>> loss
    array([0.5, 0. ])
    """
    r, y = _samples(problem, r, y, "r")
    out = _output("out", out, r.shape)
    loss_out = _output("loss_out", loss_out, y.shape)
    law = compiled_law(problem)
    if law is not None:
        from dmft._numerics.kernels import Samples, gradient_kernel

        plain, plain_losses = _plain(out), _plain(loss_out)
        samples = Samples(_plain(y), law, np.inf, np.empty(0))
        gradient_kernel(_plain(r), samples, plain, plain_losses, np.zeros(4))
        _copied(plain, out)
        _copied(plain_losses, loss_out)
        return out, loss_out
    a, values, slopes = _neurons(problem, r, "value", "derivative")
    f = a @ values
    loss_out[:] = _of_f(problem.loss, "value", f, y)
    np.multiply(slopes, a[:, None], out=out)
    out *= _of_f(problem.loss, "derivative", f, y)
    return out, loss_out


def second_layer_gradient(
    problem: Problem, r: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None
) -> Array:
    r"""Compute the sum over samples of the gradient in the second layer.

    .. math:: \sum_i w_i\, \partial\ell_i/\partial a_j
              = \sum_i w_i\, L'(f_i, y_i)\, \sigma(r_{ji})

    Parameters
    ----------
    problem : Problem
        Supplies activation, second layer and loss.
    r : array_like, shape (m, N)
        Pre-activations, one column per sample.
    y : array_like, shape (N,)
        Labels.
    weights : array_like, shape (N,), optional
        What each sample counts. Default 1.

    Returns
    -------
    ndarray, shape (m,)

    Raises
    ------
    ValueError
        If a shape is wrong, or a custom activation or loss returns a wrong shape.

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem(target="phase-retrieval", network={"activation": "quadratic"})
    >>> second_layer_gradient(problem, [[1.0, 2.0]], [0.0, 3.0])
    array([5.])
    """
    r, y = _samples(problem, r, y, "r")
    weights = np.empty(0) if weights is None else _weights(weights, y)
    law = compiled_law(problem)
    if law is not None:
        from dmft._numerics.kernels import second_layer_kernel

        total = np.empty(len(r))
        second_layer_kernel(_plain(r), _plain(y), law, _plain(weights), total)
        return total
    a, values = _neurons(problem, r, "value")
    slopes = _of_f(problem.loss, "derivative", a @ values, y)
    return np.asarray(values @ (slopes * weights if len(weights) else slopes))


def curvature(problem: Problem, r: ArrayLike, y: ArrayLike, *, out: Array | None = None) -> Array:
    r"""Compute the curvature :math:`D = \partial^2\ell/\partial r\,\partial r` of every sample.

    Parameters
    ----------
    problem : Problem
        Supplies activation, second layer and loss.
    r : array_like, shape (m, N)
        Pre-activations, one column per sample.
    y : array_like, shape (N,)
        Labels.
    out : ndarray, shape (N, m, m), float64, optional
        Receives the result.

    Returns
    -------
    D : ndarray, shape (N, m, m)
        Symmetric, one matrix per sample.

    Raises
    ------
    ValueError
        If a shape is wrong, or a custom activation or loss returns a wrong shape.

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem(target="phase-retrieval", network={"activation": "quadratic"})
    >>> curvature(problem, [[1.0]], [0.0])
    array([[[6.]]])
    """
    r, y = _samples(problem, r, y, "r")
    m, n = r.shape
    out = _output("out", out, (n, m, m))
    law = compiled_law(problem)
    if law is not None:
        from dmft._numerics.kernels import curvature_kernel

        plain = _plain(out)
        curvature_kernel(_plain(r), _plain(y), law, plain)
        _copied(plain, out)
        return out
    a, values, first, second = _neurons(problem, r, "value", "derivative", "second_derivative")
    f, slopes, bends = a @ values, (a[:, None] * first).T, (a[:, None] * second).T
    np.multiply(slopes[:, :, None], slopes[:, None, :], out=out)
    out *= _of_f(problem.loss, "second_derivative", f, y)[:, None, None]
    diagonal = np.arange(m)
    out[:, diagonal, diagonal] += _of_f(problem.loss, "derivative", f, y)[:, None] * bends
    return out


def curvature_bound(problem: Problem, r: ArrayLike, y: ArrayLike) -> Array:
    r"""Compute a bound on the largest eigenvalue of the curvature D of every sample.

    .. math:: \max_j L' a_j \sigma''(r_j) + \max(L'', 0) \sum_j (a_j \sigma'(r_j))^2,

    which is D itself for one neuron where the loss is convex in f.

    Parameters
    ----------
    problem : Problem
    r : array_like, shape (m, N)
        Pre-activations, one column per sample.
    y : array_like, shape (N,)
        Labels.

    Returns
    -------
    ndarray, shape (N,)

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem(target="phase-retrieval", network={"activation": "quadratic"})
    >>> curvature_bound(problem, [[1.0]], [0.0])
    array([6.])
    """
    r, y = _samples(problem, r, y, "r")
    law = compiled_law(problem)
    bound = np.empty(y.shape)
    if law is not None:
        from dmft._numerics.kernels import curvature_bound_kernel

        curvature_bound_kernel(_plain(r), _plain(y), law, bound)
        return bound
    a, values, first, second = _neurons(problem, r, "value", "derivative", "second_derivative")
    f, slopes, bends = a @ values, a[:, None] * first, a[:, None] * second
    bound[:] = np.max(_of_f(problem.loss, "derivative", f, y) * bends, axis=0)
    bound += np.maximum(_of_f(problem.loss, "second_derivative", f, y), 0.0) * np.sum(slopes**2, 0)
    return bound


def mean_loss(
    problem: Problem, h: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None
) -> float:
    r"""Compute the weighted sum of losses, :math:`\sum_i w_i\, \ell(h_i, y_i)`.

    Parameters
    ----------
    problem : Problem
        Supplies activation, second layer and loss.
    h : array_like, shape (m, N)
        Pre-activations, one column per sample or quadrature node.
    y : array_like, shape (N,)
        Labels.
    weights : array_like, shape (N,), optional
        Weights, used as they are: pass weights of sum 1 for a mean. Default 1/N each.

    Returns
    -------
    float
        Summed in a fixed order with compensation: same input, same bits.

    Raises
    ------
    ValueError
        If a shape is wrong, or a custom activation or loss returns a wrong shape.

    Examples
    --------
    >>> from dmft.model.problem import Problem
    >>> problem = Problem(target="phase-retrieval", network={"activation": "quadratic"})
    >>> mean_loss(problem, [[1.0, 2.0]], [0.0, 4.0])
    0.25
    """
    h, y = _samples(problem, h, y, "h")
    weights = np.full(y.shape, 1.0 / max(y.size, 1)) if weights is None else _weights(weights, y)
    law = compiled_law(problem)
    if law is not None:
        from dmft._numerics.kernels import loss_kernel

        return float(loss_kernel(_plain(h), _plain(y), _plain(weights), law))
    a, values = _neurons(problem, h, "value")
    return float(np.sum(weights * _of_f(problem.loss, "value", a @ values, y)))


def _samples(problem: Problem, r: ArrayLike, y: ArrayLike, name: str) -> tuple[Array, Array]:
    """Return pre-activations and labels as float64 arrays of matching shapes."""
    if not hasattr(problem, "network"):
        raise ValueError(f"problem must be a dmft.Problem, got {type(problem).__name__}")
    r, y = as_array(name, r), as_array("y", y)
    if r.ndim != 2 or r.shape[0] != problem.m:
        raise ValueError(f"{name} must have shape ({problem.m}, N), got shape {r.shape}")
    if y.shape != r.shape[1:]:
        raise ValueError(f"y must have shape ({r.shape[1]},), got shape {y.shape}")
    return r, y


def _weights(weights: ArrayLike, y: Array) -> Array:
    """Return weights of samples as a float64 array, one for each label."""
    weights = as_array("weights", weights)
    if weights.shape != y.shape:
        raise ValueError(f"weights must have shape {y.shape}, got shape {weights.shape}")
    return weights


def _output(name: str, out: Array | None, shape: tuple[int, ...]) -> Array:
    """Return the caller's array if it fits, a new one if there is none."""
    if out is None:
        return np.empty(shape)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float64:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{name} must be a float64 array of shape {shape}, got {got}")
    return out


def _plain(array: Array) -> Array:
    """Return the array in the one layout that kernels are compiled for; a copy if need be."""
    return np.require(array, requirements=["C", "A", "W"])


def _copied(plain: Array, out: Array) -> None:
    """Fill `out` with what a kernel wrote instead of it, if it did."""
    if plain is not out:
        out[...] = plain


def compiled_law(problem: Problem) -> kernels.Law | None:
    """Return the law of network and loss for ``dmft._numerics.kernels``.

    None unless activation and loss have compiled twins there.
    """
    activation, loss = problem.network.activation, problem.loss
    if not (activation.in_catalogue and (loss.in_catalogue or loss.in_family)):
        return None
    from dmft._numerics.kernels import Law

    assert activation.kernel_code is not None
    assert loss.kernel_code is not None
    layer, biases = np.array(problem.network.second_layer), np.array(problem.network.biases)
    return Law(layer, biases, activation.kernel_code, loss.kernel_code, loss.parameter)


def _neurons(problem: Problem, r: Array, *members: str) -> tuple[Array, ...]:
    """Return the second layer (m,), and members of the activation at pre-activations (m, N)."""
    activation = problem.network.activation
    label = f"activation {activation.name!r}"
    r = problem.network.shifted(r)
    return (
        np.array(problem.network.second_layer),
        *(_checked(f"{label}: {name}", getattr(activation, name)(r), r.shape) for name in members),
    )


def _of_f(loss: Loss, member: str, f: Array, y: Array) -> Array:
    """Return a member of the loss at outputs and labels (N,)."""
    return _checked(f"loss {loss.name!r}: {member}", getattr(loss, member)(f, y), f.shape)


def _checked(what: str, result: object, shape: tuple[int, ...]) -> Array:
    """Return the result of a callable as float64, or name the callable in a ValueError."""
    try:
        array = real_array(np.asarray(result))
    except (TypeError, ValueError):
        raise ValueError(f"{what} must return real numbers, got {type(result).__name__}") from None
    if array.shape != shape:
        raise ValueError(f"{what} must return shape {shape} for such input, got {array.shape}")
    return array
