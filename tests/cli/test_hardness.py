"""The command ``delta-nn hardness``, end to end."""

import json

import numpy as np
import pytest
from commands import called

import dmft
from dmft.recovery.exponents import Hardness


@pytest.fixture
def call(tmp_path, capsys):
    def run(*arguments):
        return called(capsys, ["hardness", *map(str, arguments), "--out", str(tmp_path / "out")])

    run.out = tmp_path / "out"
    return run


SMALL = ("--n-points", 2**16)
MANY = ("--n-points", 2**20)


def lines_of(out):
    return dict(line.split("  ", maxsplit=1) for line in out.splitlines())


def test_label_by_name(call):
    code, out, err = call("hermite3-squared", *SMALL)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in call.out.iterdir()) == [
        "hermite3-squared-hardness.npz",
        "hermite3-squared-hardness.png",
    ]
    loaded = Hardness.load(call.out / "hermite3-squared-hardness.npz")
    again = dmft.hardness("hermite3-squared", n_points=2**16)
    assert loaded.delta_alg == again.delta_alg
    lines = {name: text.strip() for name, text in lines_of(out).items()}
    assert lines["information exponent"] == "2"
    assert lines["generative exponent"] == "2"
    assert lines["hard directions"] == "z1"
    assert lines["rank test 1"] == "labels explain 0; 0 easy"
    assert float(lines["delta_alg"].split()[0]) == pytest.approx(loaded.delta_alg, abs=1e-4)
    assert lines["status"] == "SUCCESS"


@pytest.mark.slow
def test_json(call):
    code, out, err = call("easy-hard", *SMALL, "--json", "--seed", 3, "--max-degree", 4)
    assert (code, err) == (0, "")
    data = json.loads(out)
    again = dmft.hardness("easy-hard", n_points=2**16, seed=3, max_degree=4)
    assert data["delta_alg"] == again.delta_alg
    assert data["hard_basis"] == [[0.0], [1.0]]
    assert data["generative_exponents"] == [1, 2]
    assert data["settings"] == {"max_degree": 4, "n_points": 2**16, "seed": 3}
    assert data["config"]["target"]["label"] == "easy-hard"


def test_easy_labels(call):
    code, out, _ = call("hermite3", *SMALL)
    assert code == 0
    assert "0: no hard direction" in out
    assert "hard directions       none" in out


@pytest.mark.slow
def test_noise_preset_and_file(call, tmp_path):
    code, out, _ = call("--preset", "product", "--noise", 0.5, *SMALL, "--json", "--format", "pdf")
    data = json.loads(out)
    noisy = dmft.hardness(dmft.Target("product", noise=0.5), n_points=2**16)
    assert (code, data["delta_alg"]) == (0, noisy.delta_alg)
    assert data["config"]["target"]["noise"] == 0.5
    assert (call.out / "product-hardness.pdf").exists()
    path = tmp_path / "mine.toml"
    text = dmft.config.config.preset_text("robust-phase-retrieval")
    assert 'label = "phase-retrieval"' in text
    text = text.replace('label = "phase-retrieval"', 'label = "modulus"\nnoise = 0.25')
    path.write_text(text, encoding="utf-8")
    code, out, err = call(path, *SMALL, "--json")
    assert err == ""
    data = json.loads(out)
    assert (code, data["name"], data["config"]["target"]["noise"]) == (0, "mine", 0.25)


def test_bad_input(call):
    for arguments, words in [
        (["phase-retreival"], ["label", "'phase-retreival'", "did you mean 'phase-retrieval'?"]),
        ([], ["LABEL", "--preset"]),
        (["linear", "--preset", "product"], ["LABEL", "--preset"]),
        (["nothing.toml"], ["nothing.toml", "No such file"]),
        (["linear", "--noise", -1], ["noise", ">= 0", "-1"]),
        (["linear", "--n-points", 99], ["n_points", ">= 65536", "99"]),
        (["linear", "--max-degree", 1], ["max_degree", ">= 2", "1"]),
        (["linear", "--deep"], ["--deep"]),
    ]:
        code, out, err = call(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("delta-nn: error: ")
        assert all(word in err for word in words)
        assert not call.out.exists()


@pytest.mark.slow
def test_numerical_status(call, monkeypatch):
    # No catalogue label has one: let the label be noise alone.
    def noise(self, z, eps, component=None):
        return np.asarray(eps) * 1.0

    monkeypatch.setattr(dmft.Target, "sample_labels", noise)
    code, out, _ = call("phase-retrieval", "--noise", 1, *MANY)
    assert code == 3
    assert "NO_COEFFICIENT: " in out
    assert "none up to 8" in out
    assert "infinite" in out
    code, out, _ = call("phase-retrieval", "--noise", 1, *MANY, "--json")
    data = json.loads(out)
    assert (data["delta_alg"], data["delta_alg_infinite"]) == (None, True)
