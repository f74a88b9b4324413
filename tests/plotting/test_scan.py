"""Figures of scans: the right kind for the axes there are, readable, with the theory drawn in."""

import numpy as np
import pytest
from figures import inside, texts

from dmft import Scan
from dmft._numerics.plain_data import plain
from dmft.config.config import load_preset
from dmft.plotting import plot_scan, save_figure
from dmft.plotting.scan_axes import Axis
from dmft.scans.designs import design_of

CONFIG = plain(load_preset("robust-phase-retrieval-gelu").to_config())
NOISE = {"from": 0.0, "to": 1.5, "num": 6}
DELTA = {"from": 2.0, "to": 16.0, "num": 10, "scale": "log"}


def threshold(settings):
    return 4.8 + 1.8 * settings.get("target.noise", 0.0) ** 2


def gap(settings):
    return np.log(threshold(settings) / settings["delta"])


def recovery(settings):
    return 1.0 / (1.0 + np.exp(6.0 * gap(settings)))


def made(axes, *arguments, **quantities):
    """A scan whose quantities are functions of the settings."""
    design = design_of(axes, *arguments)
    each = [design.settings(index) for index in range(design.points)]
    value = np.array([[of(settings) for of in quantities.values()] for settings in each])
    return Scan(
        settings={key: [settings.get(key) for settings in each] for key in design.keys},
        quantities=tuple(quantities),
        value=value,
        error=0.03 * np.abs(value),
        statuses=np.where(np.isfinite(value), "SUCCESS", "NO_BRACKET").astype("<U32"),
        details={},
        design=design.kind,
        shape=design.shape,
        axes=tuple(axis.keys for axis in design.axes) or (design.keys,),
        errors=("standard error",) * len(quantities),
        config=CONFIG,
    )


def drawn(figure, tmp_path):
    assert save_figure(figure, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert inside(figure)
    return [axes for axes in figure.axes if axes.get_xlabel()]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("mine.py:swish", "swish"),
        ([[0.1], [0.3, 1]], "((0.1), (0.3, 1))"),
        ({"name": "swish", "beta": 1.5}, "swish, beta = 1.5"),
        ({"schedule": "cosine", "peak": 0.4}, "cosine, peak = 0.4"),
        (True, "yes"),
        (None, "-"),
        (0.25, "label noise = 0.25"),
        (float("inf"), "label noise = inf"),
    ],
)
def test_settings_of_any_kind_have_a_name(value, name):
    assert Axis("target.noise", 0, [value]).name(0) == name


def test_three_categories_are_tables_with_the_numbers_in_their_cells(tmp_path):
    labels = ["modulus", "shell.py:shell", "product"]
    losses, layers = ["square", "logistic"], [[1.0], [1.0, -1.0]]

    def value(settings):
        place = labels.index(settings["target.label"]) + 1
        missing = settings["problem.loss"] == "logistic" and place == 1
        return np.nan if missing else 10.0 * place + len(settings["network.second_layer"])

    axes = {"target.label": labels, "problem.loss": losses, "network.second_layer": layers}
    figure = plot_scan(made(axes, threshold=value))
    drawn(figure, tmp_path)
    one, two = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["(1)", "(1, -1)"]
    # Labels go down, losses across: the longer axis has the rows.
    cells = {text.get_position(): text.get_text() for text in two.texts}
    assert cells[0.5, 1.5] == "22"
    assert cells[1.5, 2.5] == "32"
    assert [text.get_text() for text in one.texts].count("no root") == 1
    assert [text.get_text() for text in one.get_yticklabels()] == ["modulus", "shell", "product"]


def test_one_numeric_axis_is_a_curve_for_each_category(tmp_path):
    def some(settings):
        missing = settings["network.activation"] == "erf" and settings["target.noise"] > 1
        return np.nan if missing else threshold(settings)

    axes = {"target.noise": NOISE, "network.activation": ["gelu", "erf"]}
    figure = plot_scan(made(axes, threshold=some))
    [panel] = drawn(figure, tmp_path)
    assert panel.get_xlabel() == "label noise"
    assert "gelu | erf" in texts(figure)
    assert "2 of 12 values with another status" in texts(figure)
    assert len(panel.collections) == 2  # bands
    joined = [line for line in panel.lines if line.get_linestyle() != "None"]
    curves = [line for line in joined if len(line.get_xdata()) == 6]
    assert np.isnan(curves[1].get_ydata()[-2:]).all()  # nothing is drawn where there is no value


def test_two_numeric_axes_are_a_map_with_the_line_of_zero_gap(tmp_path):
    axes = {"target.noise": NOISE, "delta": DELTA, "problem.init_radius": [0.5, 1.0, 2.0]}
    figure = plot_scan(made(axes, gap=gap))
    panels = drawn(figure, tmp_path)
    assert [panel.get_title() for panel in panels] == [rf"$\rho$ = {r}" for r in ("0.5", "1", "2")]
    for panel in panels:
        assert panel.get_yscale() == "log"
        assert panel.get_xscale() == "linear"
        line = np.concatenate([path.vertices for path in panel.collections[-1].get_paths()])
        expected = [threshold({"target.noise": noise}) for noise in line[:, 0]]
        np.testing.assert_allclose(line[:, 1], expected, rtol=0.05)


def test_the_phase_diagram_has_the_theory_drawn_in(tmp_path):
    axes = {"target.noise": NOISE, "delta": DELTA}
    found = made(axes, recovery=recovery, threshold=threshold)
    figure = plot_scan(found)
    [panel] = drawn(figure, tmp_path)
    # One map, of recovery, from bottom to top as delta grows; the threshold is a line in it.
    colours = np.asarray(panel.collections[0].get_array())
    np.testing.assert_array_equal(colours, found.grid("recovery").T)
    [line] = [line for line in panel.lines if len(line.get_xdata()) == 6]
    np.testing.assert_array_equal(line.get_ydata(), found.grid("threshold")[:, 0])
    assert r"$\delta_{NN}$" in texts(figure)


def test_recovery_against_delta_has_thresholds_as_lines(tmp_path):
    axes = {"delta": DELTA, "network.activation": ["gelu", "relu"]}
    [panel] = drawn(plot_scan(made(axes, recovery=recovery, threshold=threshold)), tmp_path)
    verticals = [line for line in panel.lines if list(line.get_xdata()) == [4.8, 4.8]]
    assert len(verticals) == 2


def test_random_designs_are_drawn_against_each_setting(tmp_path):
    axes = {
        "target.noise": {"from": 0.0, "to": 1.0},
        "problem.init_radius": {"from": 0.1, "to": 10.0, "scale": "log"},
        "network.activation": ["gelu", "relu"],
    }
    panels = drawn(plot_scan(made(axes, "sobol", 32, threshold=threshold)), tmp_path)
    assert [panel.get_xscale() for panel in panels] == ["linear", "log", "linear"]
    names = [label.get_text() for label in panels[2].get_xticklabels()]
    assert sorted(names) == ["gelu", "relu"]


@pytest.mark.parametrize("axes", [{"delta": [4.0]}, {"network.activation": ["gelu", "relu"]}])
def test_few_points_are_drawn_too(axes, tmp_path):
    assert len(drawn(plot_scan(made(axes, threshold=threshold)), tmp_path)) == 1
    assert len(drawn(plot_scan(made(axes, threshold=lambda _: np.nan)), tmp_path)) == 1


def test_an_unknown_quantity_is_refused():
    with pytest.raises(ValueError, match="did you mean 'gap'"):
        plot_scan(made({"delta": DELTA}, gap=gap), "gab")
