"""Overrides: keys replaced before a run file is checked, so that its checks are theirs."""

import pytest

from dmft import GradientFlow, load_preset, load_run
from dmft.config.overrides import parse_override, parse_overrides, with_overrides

SHORT = """
[target]
label = "linear"
[method]
step_size = 0.1
n_steps = 3
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=gelu", "gelu"), ("k = 0.3", 0.3), ("k=.5", 0.5), ("k=1e-3", 1e-3), ("k=2", 2),
        ("k=true", True), ("k=[1, 2]", [1, 2]), ('k="0.3"', "0.3"), ("k=a=b", "a=b"),
        ('k={ name = "swish", beta = 1.5 }', {"name": "swish", "beta": 1.5}),
        ("k=2nd.py:parity", "2nd.py:parity"), ("k=acts.py:swish", "acts.py:swish"),
    ],
)  # fmt: skip
def test_a_value_is_that_of_toml_or_a_word(text, value):
    found = parse_override(text)[1]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", "k", "k=", "=3", "k = ", "k=[1,", 'k="x', "k=" + "[" * 9999])
def test_one_line_for_what_is_no_override(text):
    with pytest.raises(ValueError, match=r"KEY=VALUE|not a value of TOML|too deeply") as caught:
        parse_override(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_key_is_given_once():
    with pytest.raises(ValueError, match=r"target\.noise: given twice"):
        parse_overrides(["target.noise=1", "target.noise = 2"])


def test_what_is_overridden_stays_as_it_was(tmp_path):
    config = {"target": {"label": {"name": "linear"}}}
    changed = with_overrides(config, {"target.label.name": "product", "new.table.key": 1})
    assert changed == {"target": {"label": {"name": "product"}}, "new": {"table": {"key": 1}}}
    assert config == {"target": {"label": {"name": "linear"}}}
    assert with_overrides(config, {"target.label": None, "no.such": None}) == {"target": {}}


def test_keys_in_the_file_and_others_are_overridden(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(SHORT, encoding="utf-8")
    run = load_run(path, {"target.label": "product", "threshold.bracket": [1, 4], "title": "T"})
    assert (run.problem.target.label, run.title) == ("product", "T")
    assert run.threshold.bracket == (1.0, 4.0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"network.activation": "gleu"}, r"\[network\]: activation .* mean 'gelu'\?"),
        ({"target.nois": 1}, r"target\.nois: unknown key \(did you mean 'noise'\?\)"),
        ({"noise": 1}, r"noise: unknown key \(did you mean target\.noise\?\)"),
        ({"target.noise": "much"}, r"target\.noise: must be a number, got a string 'much'"),
        ({"target.noise": -1}, r"noise must be .*, got -1"),
        ({"target.label.power": 3}, r"target\.label\.power: .* target\.label is no table"),
        ({"target": 3}, "target: must be a table, got an integer 3"),
        ({"targets.noise": 3}, r"targets: unknown key \(did you mean 'target'\?\)"),
        ({"target..noise": 3}, "a key must be that of a run file"),
        ({"title": 2**70}, "at most 64 bits"),
    ],
)
def test_what_a_run_file_refuses_is_refused(overrides, words):
    with pytest.raises(ValueError, match=rf"preset product: .*{words}") as caught:
        load_preset("product", overrides)
    assert "\n" not in str(caught.value)


def test_what_a_key_replaces_goes():
    run = load_preset("robust-phase-retrieval", {"method.t_max": 4.0})
    assert run.method == GradientFlow(4.0)
    assert (
        load_preset("product", {"network.neurons": 4}).problem.network.second_layer == (0.25,) * 4
    )
    accurate = load_preset("product", {"sampling.rtol": 0.1})
    assert accurate.accuracy.rtol == 0.1
