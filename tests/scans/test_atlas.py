"""The atlas: what its scan files ask for, exact where it says so, and the same in every form."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dmft
from dmft._numerics.plain_data import plain
from dmft.scans.scans import question_of
from rmt.status import Status

DATA = Path(__file__).parents[2] / "docs" / "data"
NAMES = {False: "atlas", True: "atlas-late"}


@pytest.mark.parametrize("late", [False, True])
def test_it_is_what_its_scan_file_asks_for(late):
    found = dmft.atlas(late=late)
    question = question_of(str(DATA / f"{NAMES[late]}.toml"))
    design = question.design
    assert found.config == plain(question.run.to_config())
    assert found.quantities == tuple(map(str, question.quantities))
    settings = [design.settings(point) for point in range(design.points)]
    for key, values in found.settings.items():
        assert values == [plain(entry.get(key)) for entry in settings]


@pytest.mark.parametrize("late", [False, True])
def test_every_number_has_its_error_and_every_gap_its_reason(late):
    found = dmft.atlas(late=late)
    good = found.statuses == Status.SUCCESS.name
    assert np.all(found.error[good] <= 0.02 * found.value[good])
    known = np.isfinite(found.value)
    for point, place in zip(*np.nonzero(~known), strict=True):
        assert found.detail(point, found.quantities[place])
    assert np.all(known[good])


def test_exact_values_are_those_of_the_theory():
    found = dmft.atlas()
    at_start = found.grid("threshold@0")[0, 0, :2, 0]
    np.testing.assert_allclose(at_start, [0.92302628, 1.69275995], rtol=2e-6)
    assert (found.grid("threshold@0", "error")[0, 0, :2, 0] < 1e-9).all()  # quadrature
    # The best algorithms need 1/2 for z^2, and are never worse than gradient descent.
    best = found.grid("delta_alg")[0]
    np.testing.assert_allclose(best[np.isfinite(best)], 0.5, rtol=1e-4)
    for name in ("threshold@0", "threshold@40"):
        value, alg = found.grid(name), found.grid("delta_alg")
        known = np.isfinite(value) & np.isfinite(alg)
        assert (value[known] > alg[known]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("label", "activation"), [(0, 1), (1, 3), (3, 2)])
def test_numbers_are_computed_again_from_the_scan_file(label, activation):
    found = dmft.atlas()
    shape = found.shape
    point = int(np.ravel_multi_index((label, 0, activation, 0), shape))
    axes = {",".join(keys): [plain([found.settings[key][point] for key in keys])]
            for keys in found.axes if len(keys) > 1}  # fmt: skip
    axes |= {keys[0]: [found.settings[keys[0]][point]] for keys in found.axes if len(keys) == 1}
    again = dmft.scan(str(DATA / "atlas.toml"), axes, "threshold@40", workers=1)
    place = found.column("threshold@40")
    assert again.statuses[0, 0] == found.statuses[point, place]
    value, error = found.value[point, place], found.error[point, place]
    assert abs(again.value[0, 0] - value) <= 0.1 * error  # another processor, the same paths


@pytest.mark.parametrize("late", [False, True])
def test_the_files_beside_the_page_hold_the_same_numbers(late, tmp_path):
    xarray = pytest.importorskip("xarray")
    found = dmft.atlas(late=late)
    with open(DATA / f"{NAMES[late]}.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with xarray.open_dataset(DATA / f"{NAMES[late]}.nc") as data:
        for place, name in enumerate(found.quantities):
            column = [float(row[name] or "nan") for row in rows]
            np.testing.assert_array_equal(column, found.value[:, place])
            np.testing.assert_array_equal(data[name].values.ravel(), found.value[:, place])
    found.save(tmp_path / "a.npz")
    assert dmft.load(tmp_path / "a.npz") == found == replace(found)
