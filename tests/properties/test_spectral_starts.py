"""Random spectral starts: settings kept, norms exact, bits that depend on nothing else."""

import numpy as np
from drawn import examples
from hypothesis import given
from hypothesis import strategies as st

import dmft
from dmft.model.inputs import get_inputs
from dmft.simulation.finite_data import ImposedOverlap, draw_run

SMALL = dmft.Sampling(n_paths=64, replicates=2)


@st.composite
def starts(draw):
    shares = st.one_of(st.sampled_from([1.0, -1.0, 0.5]), st.just([1.0, -0.3]))
    cap = draw(st.sampled_from([None, 2.0, 5.0]))
    name = "optimal" if cap is None else "clipped"
    return dmft.SpectralStart(name, share=draw(shares), cap=cap)


@examples(5)
@given(
    start=starts(),
    delta=st.sampled_from([0.3, 2.0, 8.0]),
    radius=st.sampled_from([1.0, [0.5, 1.5]]),
    constraint=st.sampled_from([None, "sphere"]),
    biases=st.sampled_from([None, [0.2, -0.1]]),
)
def test_a_start_along_an_eigenvector(start, delta, radius, constraint, biases):
    problem = dmft.Problem(
        "phase-retrieval",
        dmft.Network("gelu", [1.0, 0.5], biases=biases),
        "pseudo-huber",
        init_radius=radius,
        spectral_start=start,
    )
    assert dmft.Problem.from_config(problem.to_config()) == problem
    assert hash(dmft.Problem.from_config(problem.to_config())) == hash(problem)
    method = dmft.GradientDescent(0.1, 2, constraint=constraint)
    found = dmft.solve(problem, delta, method, SMALL, threads=1)
    assert found.status.ok
    np.testing.assert_allclose(found.correlation[0, 0], problem.gram, rtol=1e-9, atol=1e-9)
    shares, radii = start.shares(2), np.broadcast_to(radius, 2)
    along = found.overlap[0, :, 0] / (shares * radii)
    assert np.ptp(along) < 1e-12
    assert 0.0 <= along[0] < 1.0
    again = dmft.solve(problem, delta, method, SMALL, threads=2)
    assert np.array_equal(found.correlation, again.correlation)
    imposed = ImposedOverlap.of(problem, None)
    data = draw_run(problem, round(delta * 80), 80, 0, get_inputs("gaussian"), imposed)
    norms = np.linalg.norm(data.weights, axis=1)
    np.testing.assert_allclose(norms, radii, rtol=1e-9)
    assert np.all(data.weights @ data.frame[0] * shares >= -np.sqrt(1.0 - shares**2) * radii)
