"""What every result can be asked for, whatever it is."""

import numpy as np
import xarray as xr

from dmft.io.quantities import quantities, singular


def assert_faces(result, folder):
    """Text, page, figure, tables and files of a result, all of the same numbers."""
    name = type(result).__name__
    assert repr(result).startswith(f"{name}(")
    assert "\n" not in repr(result)
    text = result.summary()
    assert str(result) == text
    assert text.splitlines()[-1].split() == ["status", *_status(result)]
    page = result._repr_html_()
    assert "<table>" in page
    assert "data:image/png;base64," in page
    assert len(page) < 500_000
    axes = np.ravel(result.plot())
    assert all(panel.figure is axes[0].figure for panel in axes)

    found = quantities(result)
    data = result.to_xarray()
    assert data.attrs["result"] == name
    for key, entry in found.items():
        stored = data[singular(key) if entry.dims == (singular(key),) else key]
        assert stored.dims == entry.dims
        assert stored.attrs["units"] == entry.unit
        if entry.values.dtype.kind != "U":
            assert np.array_equal(stored.values, entry.values, equal_nan=True), key
        if entry.error_of:
            assert found[entry.error_of].dims == entry.dims, key
    table = result.to_dataframe()
    assert list(table.index.names) == list(result._rows)
    assert len(table) == np.prod([data.sizes[dim] for dim in result._rows])
    assert len(table.columns)
    with xr.open_dataset(result.to_netcdf(folder / "result"), engine="scipy") as again:
        empty = [key for key in data.variables if not data[key].size]
        assert again.load().equals(data.drop_vars(empty))
        named = again.attrs.get("empty", "").splitlines()
        assert [line.partition(" (")[0] for line in named] == empty
        assert again.attrs["config"] == data.attrs["config"]

    result.save(folder / "result.npz")
    loaded = type(result).load(folder / "result.npz")
    assert loaded == result
    assert hash(loaded) == hash(result)
    assert result != 3
    assert (result == None) is False  # noqa: E711
    with np.load(folder / "result.npz") as file:
        for key in ("value", "train_loss", "density", "probability", "delta_alg", "p_value"):
            if key in found:
                assert np.array_equal(file[key], found[key].values, equal_nan=True)


def _status(result):
    status = result.status
    return [status.name] if status.ok else f"{status.name}: {status.value}".split()
