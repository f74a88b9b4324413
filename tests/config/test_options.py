"""Options: what tables declare is what functions take and the command line has."""

import dataclasses
import inspect

import pytest

import dmft
from dmft.cli.arguments import command_parser
from dmft.config.config import TABLES
from dmft.config.options import Settings, declared, option, read_table

TAKEN = {
    "target": [dmft.Target],
    "network": [dmft.Network],
    "problem": [dmft.Problem],
    "method": [dmft.GradientDescent, dmft.GradientFlow],
    "sampling": [dmft.Sampling],
    "threshold": [dmft.find_delta_nn],
    "curve": [dmft.delta_nn_curve],
    "cascade": [dmft.cascade],
    "scaling-law": [dmft.scaling_law],
    "algorithmic-gap": [dmft.algorithmic_gap, dmft.StepSizes, dmft.SimulationCheck],
    "trajectory": [dmft.solve],
    "spectrum": [dmft.solve, dmft.spectrum, dmft.Trajectory.hessian],
    "simulation": [dmft.simulate],
    "sweep": [dmft.sweep, dmft.recovery_probability],
    "grokking": [dmft.predict_grokking],
    "spectral-method": [dmft.spectral_method],
    "scan": [dmft.scan],
}
# What a table says in another way than the function.
OTHER = {
    "curve": {"n_steps"},
    "cascade": {"n_steps", "index"},
    "scaling-law": {"n_steps", "index", "steps"},
    "sampling": {"rtol", "max_paths", "max_seconds"},  # of functions
    "algorithmic-gap": {"n_steps", "activations", "losses", "widths"},
    "sweep": {"n_steps", "bracket", "points", "recovery_draws"},
}


@pytest.mark.parametrize("table", TABLES)
def test_every_option_is_an_argument(table):
    taken = {name for function in TAKEN[table] for name in inspect.signature(function).parameters}
    assert set(declared(TABLES[table])) - OTHER.get(table, set()) <= taken


def test_every_argument_of_a_class_is_an_option():
    for table in ("network", "problem", "method", "sampling"):
        taken = {name for one in TAKEN[table] for name in inspect.signature(one).parameters}
        assert taken - set(declared(TABLES[table])) <= {"target", "network", "biases"}


def test_an_option_is_declared_in_one_place(monkeypatch):
    """A field is read from TOML with its type and check, and is an argument of the command."""

    def even(name, value):
        if value % 2:
            raise ValueError(f"{name} must be even, got {value}")
        return value

    @dataclasses.dataclass(frozen=True)
    class More(TABLES["trajectory"]):
        every: int | None = option("an even number", "N", check=even)
        loud: bool | None = option("say more", off=("--quiet", "say less"))

    assert read_table(More, "trajectory", {"every": 4, "loud": True}) == More(None, 4, True)
    for entries, words in (
        ({"every": 1.5}, "trajectory.every: must be an integer, got a number 1.5"),
        ({"every": 3}, r"\[trajectory\]: every must be even, got 3"),
        ([], "trajectory: must be a table, got an array"),
    ):
        with pytest.raises(ValueError, match=words):
            read_table(More, "trajectory", entries)
    monkeypatch.setitem(TABLES, "trajectory", More)

    from dmft.cli.parser import Parser, add_options

    parser = Parser(
        prog="x", fill=lambda parser: add_options(parser, "trajectory", "every", "loud")
    )
    assert vars(parser.parse_args(["--every", "4", "--quiet"])) == {
        "trajectory.every": 4, "trajectory.loud": False,
    }  # fmt: skip


def test_flags_are_names_with_dashes():
    arguments = vars(command_parser().parse_args(["curve", "--preset", "product"]))
    options = {name for name in arguments if "." in name}
    assert {"curve.max_solves", "method.n_steps", "sampling.seed"} <= options
    for name in options:
        table, _, key = name.partition(".")
        assert issubclass(TABLES[table], Settings)
        assert key in declared(TABLES[table])
