"""Every result comes back from its file with the same public quantities, whatever was computed."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from damage import same
from drawn import SAMPLING, deltas, examples, problems, steps
from faces import assert_faces
from hypothesis import given
from hypothesis import strategies as st

import dmft

HARD = ("phase-retrieval", "easy-hard", "product")
BRACKET = (0.5, 8.0)


def quantities(result):
    """Name and value of every public attribute; where one raises, the error."""
    found = {}
    for name in dir(result):
        if name.startswith("_"):
            continue
        try:
            value = getattr(result, name)
        except (ValueError, dmft.NumericalFailure) as error:
            value = str(error)
        if not callable(value):
            found[name] = value
    return found


SHOWN = set()


def assert_comes_back(result):
    if type(result) not in SHOWN and np.asarray(getattr(result, "steps", [0])).size:
        SHOWN.add(type(result))
        with tempfile.TemporaryDirectory() as folder:
            assert_faces(result, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.npz"
        result.save(path)
        loaded = quantities(type(result).load(path))
    expected = quantities(result)
    assert loaded.keys() == expected.keys()
    assert len(expected) > 3
    for name, value in expected.items():
        assert same(plain(loaded[name]), plain(value)), f"{type(result).__name__}.{name}"


def plain(value):
    """Return a value; of a problem or a method its settings, of a mapping a dictionary."""
    if hasattr(value, "to_config"):
        return value.to_config()
    if isinstance(value, Mapping):
        return dict(value)
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value


@pytest.mark.slow
@examples(6)
@given(
    problem=problems(), delta=deltas(), sizes=steps(2), batch=st.sampled_from([1.0, 0.5]),
    d=st.sampled_from([10, 15]), seeds=st.integers(2, 3), step=st.integers(0, 2),
)  # fmt: skip
def test_runs(problem, delta, sizes, batch, d, seeds, step):
    method = dmft.GradientDescent(sizes, 2, batch)
    trajectory = dmft.solve(problem, delta, method, SAMPLING, threads=1)
    runs = dmft.simulate(problem, delta, method, d, seeds, hessian_steps=[step], workers=1)
    assert_comes_back(trajectory)
    assert_comes_back(runs)
    assert_comes_back(dmft.spectrum(trajectory, step, points=64))
    assert_comes_back(trajectory.hessian(step, d=round(30 / delta) + 20, draws=3))
    assert_comes_back(dmft.compare(trajectory, runs))


@pytest.mark.slow
@examples(5)
@given(
    problem=problems(HARD),
    sizes=steps(2),
    step=st.integers(1, 2),
    criterion=st.sampled_from(["negative", "left", "any"]),
    data=st.data(),
)
def test_thresholds(problem, sizes, step, criterion, data):
    method = dmft.GradientDescent(sizes, 2)
    most = problem.m * problem.target.hard_basis.shape[1]
    which = {"criterion": criterion, "index": data.draw(st.integers(1, most))}
    few = {"threads": 1, **which}
    assert_comes_back(
        dmft.find_delta_nn(problem, method, BRACKET, step, SAMPLING, scan_points=4, **few)
    )
    at_sizes = dmft.delta_nn_at_sizes(
        problem, method, BRACKET, [100], step, SAMPLING, draws=2, scan_points=4, threads=1
    )
    if np.isfinite(at_sizes.value).any():  # without a figure it has not all of its faces
        assert_comes_back(at_sizes)
    assert_comes_back(
        dmft.delta_nn_curve(
            problem, method, BRACKET, [1, 2], SAMPLING, points=4, max_solves=4, **few
        )
    )
    followed = problem.target.is_even and problem.inputs is None
    learned = np.full((1, most // problem.m), 0.1) if followed else np.empty((0, 1))
    assert_comes_back(
        dmft.cascade(
            problem, method, BRACKET, [1], SAMPLING, points=4, max_solves=4, features=1,
            learned=learned, criterion=criterion, threads=1,
        )
    )  # fmt: skip
    if problem.m == 1 and followed and criterion != "any":
        assert_comes_back(
            dmft.scaling_law(
                problem, method, BRACKET, (1, 2), sampling=SAMPLING, points=4, max_solves=4,
                criterion=criterion, n_points=2**14, threads=1,
            )
        )  # fmt: skip


@pytest.mark.slow
@examples(3)
@given(
    problem=problems(("phase-retrieval",), inputs=()), delta=deltas(),
    size=st.sampled_from([0.05, 0.1, 0.3]), d=st.integers(8, 12), degree=st.integers(2, 3),
)  # fmt: skip
def test_studies(problem, delta, size, d, degree):
    method = dmft.GradientDescent(size, 2)
    few = {"sampling": SAMPLING, "threads": 1}
    sizes = [100 * d]  # in which a start is small at every delta
    found = [
        dmft.sweep(problem, [delta, 9.0], method, d=[d], seeds=2, hessian_step=1, workers=1),
        dmft.recovery_probability(problem, [delta, 9.0], [d], method, draws=2, workers=1),
        dmft.hardness(problem.target, n_points=2**16, max_degree=degree),
        dmft.predict_grokking(problem, delta, method, sizes, probabilities=[0.5], n_draws=4, **few),
        dmft.algorithmic_gap(
            problem.target, [problem], BRACKET, method=method, steps=[1, 2], points=4,
            max_solves=4, n_points=2**16, **few,
        ),
    ]  # fmt: skip
    for result in found:
        assert_comes_back(result)
