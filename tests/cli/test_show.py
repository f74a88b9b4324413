"""``delta-nn show``: what a result file holds, from the file alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from figures import curve, threshold

import dmft
from dmft.cli import main


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "curve.npz"
    curve().save(path)
    return path


def test_text_says_what_the_file_is(file, capsys):
    assert main(["show", str(file)]) == 0
    text = capsys.readouterr().out
    assert "holds       threshold curve (dmft.ThresholdCurve)\n" in text
    assert curve().summary() in text
    assert "\nmethod.step_size                0.2\n" in text
    assert [path.name for path in file.parent.iterdir()] == ["curve.npz"]


@pytest.mark.parametrize("kind", ["csv", "nc", "pdf", "png", "svg"])
def test_other_formats_stand_beside_the_file(file, capsys, kind):
    assert main(["show", str(file), "--format", kind]) == 0
    written = file.with_suffix(f".{kind}")
    assert f"wrote                           {written}\n" in capsys.readouterr().out
    data = written.read_bytes()
    starts = {"csv": b"step,", "nc": b"CDF", "pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}
    assert data.startswith(starts[kind])
    assert b"/Type3" not in data  # fonts that journals refuse


def test_json_has_every_quantity(file, capsys):
    assert main(["show", str(file), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    value = data["quantities"]["value"]
    assert value["dims"] == ["step"]
    assert value["units"] == "samples per dimension"
    assert np.allclose(value["values"], curve().value)
    assert data["kind"] == "threshold curve"
    assert data["config"] == curve().config


def test_a_place_of_ones_own(file, tmp_path, capsys):
    assert main(["show", str(file), "--format", "csv", "--out", str(tmp_path / "table")]) == 0
    assert (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("kind", ["csv", "nc", "pdf", "png"])
def test_other_contents_are_not_overwritten(file, capsys, kind):
    show = ["show", str(file), "--format", kind]
    written = file.with_suffix(f".{kind}")
    for _ in range(2):  # the second time it has these contents, or a figure of these
        assert main(show) == 0
    assert {path.name for path in file.parent.iterdir()} == {"curve.npz", written.name}
    capsys.readouterr()
    written.write_bytes(b"mine")
    assert main(show) == 0
    other = written.with_stem("curve-2")
    assert f"{written} has other contents: writing {other} (or use --force)" in (
        capsys.readouterr().err
    )
    assert written.read_bytes() == b"mine"
    assert main([*show, "--force"]) == 0
    assert written.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nothing.npz"], "No such file"),
        (["text.npz"], "path must be a delta-nn result file"),
        (["."], "is a folder"),
        (["empty.npz", "--format", "png"], "must have a finite gap to be drawn"),
        (["curve.npz", "--format", "csv", "--out", "no/where.csv"], "no/where.csv"),
        (["other.npz"], "path must be a file of one result"),
        (["curve.npz", "--format", "xls"], "invalid choice: 'xls'"),
    ],
)
def test_bad_input_is_one_line(file, monkeypatch, capsys, arguments, why):
    monkeypatch.chdir(file.parent)
    (file.parent / "text.npz").write_text("no result")
    threshold(gap=np.full(4, np.nan), value=np.nan, crossings=()).save("empty.npz")
    from dmft.io.results import write_result

    write_result("other.npz", "note", {}, {})
    assert main(["show", *arguments]) == 2
    line = capsys.readouterr().err
    assert why in line
    assert line.count("\n") == 1


def test_the_files_of_earlier_versions(capsys):
    """They hold no public quantities, and are read all the same."""
    name = str(Path(__file__).parents[2] / "docs/data/robust-phase-retrieval-curve.npz")
    assert main(["show", name]) == 0
    assert "status" in capsys.readouterr().out
    found = dmft.load(name)
    assert found.to_dataframe().index.name == "step"
