"""Laws of one's own named in a run file: what is found, what is kept, and one line for the rest."""

import hashlib
import json
import sys
import types

import numpy as np
import pytest

import dmft
from dmft.config import own_laws
from dmft.config.own_laws import own_law

LABELS = """
def parity(z, eps):
    return z[:, 0] * z[:, 1]

def noisy(z, eps):
    return z[:, 0] ** 2 + 0.1 * eps

def power(n):
    return lambda z, eps: z[:, 0] ** n

def failing(z, eps):
    raise RuntimeError("no\\nway")

def leaving(z, eps):
    raise SystemExit(3)

number = 3
"""
LAWS = """
import numpy as np
from dmft import Activation, Loss

def swish(r, beta):
    return r / (1 + np.exp(-beta * r))

def tanh(beta=1.0):
    return Activation(lambda r: np.tanh(beta * r))

modulus = Activation(np.abs, np.sign, lambda r: 0 * r, kinks=(0.0,))

class Cubic:
    def __init__(self, factor):
        self.factor = factor

    def value(self, r):
        return self.factor * r**3

def square(f, y):
    return (f - y) ** 2 / 2

def logistic():
    return Loss(lambda f, y: np.logaddexp(0, -y * f), labels="sign")

def three():
    return 3

def sharp(r):
    return abs(r)
"""
RUN = """
[target]
label = "labels.py:parity"
k = 2
[network]
activation = { python = "laws.py:swish", beta = 1.5 }
[problem]
loss = "laws.py:square"
[method]
step_size = 0.1
n_steps = 1
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in (
        ("labels.py", LABELS),
        ("laws.py", LAWS),
        ("run.toml", RUN),
        ("raises.py", "x = 1\ny = 1 / 0\n"),
        ("syntax.py", "x = (\n"),
        ("leaves.py", "import sys\nsys.exit(3)\n"),
        ("imports.py", "import no_such_library\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


# -- found ---------------------------------------------------------------------------------------


def test_a_run_file_names_its_laws(folder):
    problem = dmft.load_run(folder / "run.toml").problem
    assert (problem.target.name, problem.k) == ("labels.py:parity", 2)
    z = np.random.default_rng(0).standard_normal((20, 2))
    np.testing.assert_array_equal(problem.sample_labels(z, np.zeros(20)), z[:, 0] * z[:, 1])
    swish = problem.network.activation
    assert swish.name == "laws.py:swish(beta=1.5)"
    exact = dmft.Network({"name": "swish", "beta": 1.5}).activation
    r = np.linspace(-3, 3, 20)
    np.testing.assert_allclose(swish.value(r), exact.value(r), rtol=1e-14)
    np.testing.assert_allclose(swish.second_derivative(r), exact.second_derivative(r), atol=1e-9)
    assert problem.loss.derivative(np.array([3.0]), np.array([1.0])) == pytest.approx([2.0])
    assert problem == dmft.load_run(folder / "run.toml").problem


@pytest.mark.parametrize(
    ("entry", "at_two"),
    [
        ("laws.py:tanh", np.tanh(2.0)),
        ({"python": "laws.py:tanh", "beta": 0.5}, np.tanh(1.0)),
        ({"python": "laws.py:Cubic", "factor": 2}, 16.0),
        ("numpy:sin", np.sin(2.0)),
        ("laws.py:modulus", 2.0),
    ],
)
def test_functions_laws_and_what_makes_them(folder, entry, at_two):
    activation = own_law("activation", entry, folder)
    assert activation.value(np.array([2.0])) == pytest.approx([at_two], rel=1e-15)
    assert activation.kinks == ((0.0,) if entry == "laws.py:modulus" else ())


def test_laws_of_other_kinds_are_made_too(folder):
    assert own_law("loss", "laws.py:logistic", folder).labels == "sign"
    label = own_law("label", {"python": "labels.py:power", "n": 3}, folder)
    np.testing.assert_array_equal(label(np.array([[2.0]]), np.zeros(1)), [8.0])


def test_an_entry_of_the_catalogue_stays_one(folder):
    (folder / "mine.py").write_text(
        "from dmft.model.activations import ACTIVATIONS\nmine = ACTIVATIONS['gelu']\n"
    )
    assert own_law("activation", "mine.py:mine", folder).config == "gelu"


def test_networks_of_the_algorithmic_gap_are_found_beside_the_run_file(folder):
    own = ["gelu", "laws.py:tanh", {"name": "swish", "beta": 2}]
    run = dmft.load_run(folder / "run.toml", {"algorithmic-gap.activations": own})
    first, tanh, swish = run.algorithmic_gap.activations
    assert (first, tanh.name, swish.name) == ("gelu", "laws.py:tanh", "swish(beta=2)")
    stored = json.loads(json.dumps(run.to_config()))["algorithmic-gap"]["activations"]
    assert stored[1]["source"] == LAWS
    assert stored[2] == {"name": "swish", "beta": 2.0}


# -- kept ----------------------------------------------------------------------------------------


def test_results_hold_the_source_and_never_run_it(folder):
    problem = dmft.load_run(folder / "run.toml").problem
    config = json.loads(json.dumps(problem.to_config()))
    assert config["target"]["label"] == {
        "custom": "labels.py:parity",
        "sha256": hashlib.sha256(LABELS.encode()).hexdigest(),
        "source": LABELS,
    }
    assert config["network"]["activation"]["parameters"] == {"beta": 1.5}
    assert config["loss"]["source"] == LAWS
    method, sampling = dmft.GradientDescent(0.1, 1), dmft.Sampling(64, 2)
    dmft.solve(problem, 2.0, method, sampling, threads=1).save(folder / "run.npz")
    with np.load(folder / "run.npz") as file:
        header = file["header"].tobytes().decode()
    assert json.dumps(LABELS) in header
    trap = config["target"]["label"]["source"] = "raise SystemExit\n"
    for name in ("labels.py", "laws.py"):
        (folder / name).write_text(trap)
    assert dmft.Trajectory.load(folder / "run.npz").problem is None
    assert dmft.Problem.of_record(config, None) is None
    assert dmft.Trajectory.load(folder / "run.npz", problem=problem).problem == problem


def test_a_changed_source_resumes_nothing(folder):
    method, sampling = dmft.GradientDescent(0.1, 1), dmft.Sampling(64, 2)

    def run():
        problem = dmft.load_run(folder / "run.toml").problem
        dmft.solve(problem, 2.0, method, sampling, threads=1, checkpoint=folder / "kept")

    run()
    run()
    with (folder / "labels.py").open("a") as stream:
        stream.write("# another\n")
    words = r"checkpoint must be .* before the source code of problem\.target\.label changed"
    with pytest.raises(ValueError, match=words):
        run()


def test_a_file_beside_that_of_a_law_is_part_of_it(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import beside\ndef label(z, eps): return beside.c * z[:, 0]")
    found = []
    for factor in (1.0, 2.0):
        monkeypatch.setitem(sys.modules, "beside", types.SimpleNamespace(c=factor))
        own_laws._executed.cache_clear()
        label = own_law("label", "mine.py:label", tmp_path)
        found.append(dmft.Problem(dmft.Target(label), dmft.Network("linear"), weight_decay=0.1))
    dmft.erm_limit(found[0], 2.0).save(tmp_path / "found.npz")
    assert dmft.load(tmp_path / "found.npz", found[0]).problem is found[0]
    with pytest.raises(ValueError, match=r"same names \(mine\.py:label\), but give other values"):
        dmft.load(tmp_path / "found.npz", found[1])


def test_a_result_of_another_source_says_whose(folder):
    method, sampling = dmft.GradientDescent(0.1, 1), dmft.Sampling(64, 2)
    problem = dmft.load_run(folder / "run.toml").problem
    dmft.solve(problem, 2.0, method, sampling, threads=1).save(folder / "run.npz")
    with (folder / "labels.py").open("a") as stream:
        stream.write("# another\n")
    words = r"in the file; the source code of target\.label \(labels\.py:parity\) has changed$"
    with pytest.raises(ValueError, match=words):
        dmft.load(folder / "run.npz", dmft.load_run(folder / "run.toml").problem)


def test_nothing_is_imported_for_the_catalogue(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "gelu.py").write_text("raise SystemExit\n")
    assert dmft.load_preset("product", {"network.activation": "gelu"}).problem.m == 2


# -- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "entry", "words"),
    [
        ("label", "nofile.py:parity", r"label 'nofile\.py:parity': cannot read .*No such file"),
        ("label", "labels.py:partiy", r"no 'partiy' in labels\.py \(did you mean 'parity'\?\)"),
        ("label", "labels.py:number", r"label 'labels\.py:number' must be a function, got int"),
        ("label", "labels.py", r"must be file\.py:object or module\.path:object"),
        ("label", "labels.py:", r"must be file\.py:object"),
        ("label", {"python": 3}, r"must be file\.py:object .*, got 3"),
        ("label", "labels.py:power", r"must take \(z, eps\), .*; it takes \(n\)"),
        ("label", "a b:c", r"'a b' is neither a file\.py nor a module\.path"),
        ("activation", "raises.py:f", r"'raises\.py:f': line 2: ZeroDivisionError: division by"),
        ("activation", "syntax.py:f", r"'syntax\.py:f': line 1: SyntaxError"),
        ("activation", "leaves.py:f", r"'leaves\.py:f': line 2: SystemExit: 3"),
        ("activation", "imports.py:f", r"line 1: ModuleNotFoundError: No module named"),
        ("activation", "no.such.module:f", r"there is no module 'no\.such\.module'"),
        ("activation", "laws.py:swish", r"'laws\.py:swish' must take \(r\).*beta has no value"),
        ("activation", {"python": "laws.py:swish", "bta": 1}, r"bta is none .*did you mean beta"),
        ("activation", {"python": "laws.py:modulus", "c": 1}, "made already, and takes no c"),
        ("activation", "laws.py:Cubic", "factor has no value"),
        ("activation", "laws.py:three", r"must make a function of \(r\), got int"),
        ("activation", "laws.py:sharp", r"'laws\.py:sharp': the derivative jumps near 0"),
        ("activation", "math:sin", "'math:sin': value failed on arrays"),
        ("loss", "laws.py:sharp", r"loss 'laws\.py:sharp' must take \(f, y\)"),
    ],
)
def test_one_line_for_what_is_no_law(folder, kind, entry, words):
    with pytest.raises(ValueError, match=words) as caught:
        own_law(kind, entry, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("target.label", "labels.py:failing", r"\[target\]: label 'labels\.py:failing' .*no way"),
        ("target.label", "labels.py:leaving", r"'labels\.py:leaving' failed .*SystemExit: 3"),
        ("target.k", None, r"IndexError.*\(its number of directions, k, is 1 unless given\)"),
        ("target.noise", -1, "noise must be a finite number >= 0"),
        ("network.activation.beta", "x", r"'laws\.py:swish\(beta=x\)': value failed"),
        ("network.activation.python", "gelu", r"must be file\.py:object .*, got 'gelu'"),
    ],
)  # fmt: skip
def test_one_line_of_the_run_file(folder, key, value, words):
    with pytest.raises(ValueError, match=rf"run\.toml: .*{words}") as caught:
        dmft.load_run(folder / "run.toml", {key: value})
    assert "\n" not in str(caught.value)


def test_a_preprocessing_stands_beside_the_shares_of_a_start(folder):
    (folder / "start.toml").write_text(
        '[target]\nlabel = "phase-retrieval"\n[problem]\nloss = "pseudo-huber"\n'
        'spectral_start = { preprocessing = "start.py:clipped", share = [0.5] }\n'
        "[method]\nstep_size = 0.1\nn_steps = 1\n",
        encoding="utf-8",
    )
    (folder / "start.py").write_text(
        "import numpy as np\ndef clipped(y):\n    return np.clip(y, -1, 2)\n", encoding="utf-8"
    )
    start = dmft.load_run(folder / "start.toml").problem.spectral_start
    assert start.shares(1).tolist() == [0.5]
    assert "start.py:clipped" in str(start.to_config())
