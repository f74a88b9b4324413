"""Figures of a law: what is in them, and that importing rmt does not import matplotlib."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import rmt
from rmt.closed_forms import SpikedCovariance
from rmt.overlay import compare_spectrum
from rmt.plotting import plot_density, plot_flow


def texts(figure):
    axes = figure.axes[0]
    labels = axes.get_legend_handles_labels()[1]
    return labels + [text.get_text() for text in axes.texts]


def test_density_with_outlier_and_histogram(tmp_path):
    law = SpikedCovariance(2.0, 3.0).law()
    figure = plot_density(law, compare_spectrum(law, law.sample_matrix(200, 0)), title="title")
    (outlier,) = law.outliers()
    found = texts(figure)
    assert "hard outlier, overlap" in found
    assert f"{outlier.hard_overlap:.2f}" in found
    assert "simulation, $md = 200$" in found
    assert figure.axes[0].get_xlim()[1] > outlier.value
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.slow
def test_density_with_atom_and_ticks(tmp_path):
    law = rmt.HessianLaw([1.0, -1.0], 0.5, shift=0.2)
    operator = aslinearoperator(law.sample_matrix(100, 0))
    figure = plot_density(law, compare_spectrum(law, operator, dense_limit=0), bins=20)
    assert "atom, mass 0.5" in texts(figure)
    assert "extreme eigenvalues, $md = 100$" in texts(figure)
    figure.savefig(tmp_path / "figure.pdf")


@pytest.mark.parametrize(
    ("law", "n_edges", "atom"),
    [
        (rmt.HessianLaw([0.0], 1.0), 0, True),
        (rmt.HessianLaw([1.0], 1.0), 2, False),
        (rmt.HessianLaw([1.0, -1.0], 2.0, bounded_below=False), 1, False),
        (rmt.HessianLaw([1.0, -1.0], 2.0, bounded_below=False, bounded_above=False), 0, False),
    ],
    ids=["no weight", "hard edge", "unbounded below", "unbounded"],
)
def test_unusual_laws(law, n_edges, atom, tmp_path):
    """Finite edges are drawn and lie in the picture; infinite ones leave it finite."""
    finite = [edge for edge in law.edges() if np.isfinite(edge)]
    figure = plot_density(law)
    (axes,) = figure.axes
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == (finite if n_edges else [])
    assert len(dashed) == n_edges
    assert ("atom, mass 1" in texts(figure)) == atom
    low, high = axes.get_xlim()
    assert np.isfinite([low, high, *axes.get_ylim()]).all()
    assert all(low < edge < high for edge in [*finite, law.shift])
    figure.savefig(tmp_path / "density.png")

    figure = plot_flow([0], [law])
    (axes,) = figure.axes
    drawn = np.concatenate([line.get_ydata() for line in axes.lines[:2]])
    np.testing.assert_array_equal(drawn[np.isfinite(drawn)], finite)
    low, high = axes.get_ylim()
    assert np.isfinite([low, high]).all()
    assert all(low < edge < high for edge in [*finite, law.shift])
    figure.savefig(tmp_path / "flow.png")


def test_flow(tmp_path):
    spikes = [0.1, 1.0, 2.0, 3.0]
    figure = plot_flow(range(4), [SpikedCovariance(4.0, s).law() for s in spikes], title="flow")
    axes = figure.axes[0]
    discs = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(discs) == 3  # no outlier at the first step
    sizes = [line.get_markersize() for line in discs]
    assert sizes == sorted(sizes)
    joins = [line for line in axes.lines if len(line.get_xdata()) == 2 and line not in discs]
    assert sum(np.ptp(np.asarray(line.get_xdata(), dtype=float)) == 1 for line in joins) >= 2
    figure.savefig(tmp_path / "flow.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: plot_density(law, bins=0), "bins"),
        (lambda law: plot_flow([], []), "steps"),
        (lambda law: plot_flow([0, 1], [law]), "steps"),
        (lambda law: plot_flow([1, 1], [law, law]), "ascend"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(rmt.HessianLaw([1.0], 2.0))


@pytest.mark.processes
def test_rmt_does_not_import_matplotlib():
    code = "import sys, rmt, rmt.overlay; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
