"""Figures look the same whatever matplotlib's settings, when made and when drawn."""

import io
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pytest
from figures import spectrum, threshold

import rmt
from dmft import Status
from dmft.plotting import plot_spectrum, plot_threshold
from rmt.plotting import plot_density

HOSTILE = {
    "text.usetex": True,
    "path.sketch": (1.0, 100.0, 2.0),
    "font.family": ["serif"],
    "axes.grid": True,
    "figure.autolayout": True,
    "savefig.bbox": "tight",
    "lines.marker": "x",
    "xtick.bottom": False,
    "figure.facecolor": "red",
    "axes.prop_cycle": matplotlib.cycler(color=["red"]),
}
FIGURES = {
    "threshold": lambda: plot_threshold(threshold()),
    "no threshold": lambda: plot_threshold(
        threshold(value=np.nan, status=Status.NO_BRACKET, crossings=())
    ),
    "spectrum": lambda: plot_spectrum(spectrum()),
    "law": lambda: plot_density(rmt.HessianLaw([1.0, 2.0, -1.0], ratio=3.0)),
}


def drawn(figure):
    """Pixels, and a file as a notebook asks for it."""
    file = io.BytesIO()
    figure.canvas.print_figure(file, format="svg", metadata={"Date": None})
    figure.canvas.draw()
    text = file.getvalue().decode()
    return figure.canvas.buffer_rgba().tobytes(), [text.count(tag) for tag in ("<path", "<text")]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_settings_of_the_user_do_not_show(name):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        expected = drawn(FIGURES[name]())
    with matplotlib.rc_context(), plt.style.context("dark_background"):
        matplotlib.rcParams.update(HOSTILE)
        before = dict(matplotlib.rcParams)
        figure = FIGURES[name]()
        assert drawn(figure) == expected
        assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("first", "backend", "contents"),
    [
        ("rmt.plotting", "module://matplotlib_inline.backend_inline", b""),
        ("dmft.plotting", "nonsense", b""),
        ("rmt.plotting", "agg", b"\xff\xfe"),
        ("dmft.plotting", "agg", b"\xff\xfe"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path, monkeypatch, first, backend, contents):
    if contents:
        (tmp_path / "matplotlibrc").write_bytes(contents)
    monkeypatch.setenv("MPLBACKEND", backend)
    code = (
        f"import os, {first}, rmt.plotting, rmt\n"
        f"assert os.environ['MPLBACKEND'] == {backend!r} and 'MATPLOTLIBRC' not in os.environ\n"
        f"assert os.path.samefile('.', {str(tmp_path)!r})\n"
        "rmt.plotting.plot_density(rmt.HessianLaw([1.0], 2.0)).savefig('a.png')\n"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True, timeout=100
    )
    assert (tmp_path / "a.png").stat().st_size > 1000
