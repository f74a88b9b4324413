"""Damaged run files: every one is read, or is one line; what is read survives a round trip."""

import random

import pytest
from commands import ONE_STEP, called
from run_files import FULL

from dmft.cli.exits import BAD_INPUT, DONE, NUMERICAL
from dmft.config.config import RunFile, load_run, preset_names, preset_text

N_FILES = 200
VALUES = [
    "0", "-1", "1e308", "-1e-308", "nan", "inf", "-inf", "9223372036854775808",
    "-9223372036854775809", "9223372036854775807", "1" * 5000, "0x7fffffffffffffff", "1e400",
    "true", '""', '"nan"', '"1"', "[]", "[[]]", "[1, [2]]", "[nan]", "{}", "{ law = 3 }",
    '"\\u0000"', '"\\n"', '"' + "x" * 300 + '"', "1979-05-27", "07:32:00", "[" * 400 + "]" * 400,
    '{ law = "gaussian", std = -1 }', '{ name = "capped-square", cap = 2 }',
    '{ name = "normalised-square", a = 0 }', "[" * 20000, '{ schedule = "cosine", peak = -1 }',
    "1_000", "[1, true]", "-0.0", "5e-324",
]  # fmt: skip
KEYS = [
    "lable", "", "n-steps", '"a\\nb"', '"\\u001b[2J"', "a.b.c", ".".join("a" * 500), "label", "k",
    "delta", "seed", "times", "t_max", "neurons", "noise", "biases", "bias_step_size", "loss",
]  # fmt: skip


def mutated(rng):
    """Bytes of a run file to which something has happened."""
    text = rng.choice([FULL, *map(preset_text, preset_names())])
    lines = text.split("\n")
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        kind = rng.randrange(9)
        stated = [i for i, line in enumerate(lines) if "=" in line]
        i = rng.choice(stated) if stated else 0
        key = lines[i].partition("=")[0]
        if kind <= 3:
            lines[i] = f"{key}= {rng.choice(VALUES)}"
        elif kind == 4:
            lines[i] = f"{rng.choice(KEYS)} ={lines[i].partition('=')[2]}"
        elif kind == 5:
            lines.insert(rng.randrange(len(lines)), lines[i])
        elif kind == 6:
            del lines[i]
        elif kind == 7:
            letters = list(lines[i])
            letters[rng.randrange(len(letters))] = rng.choice("=[]{}\"'#.,-e9 \t\x00\x7f\u00e9")
            lines[i] = "".join(letters)
        else:
            lines.insert(i, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
    contents = "\n".join(lines).encode(rng.choice(["utf-8"] * 12 + ["utf-8-sig", "utf-16"]))
    kind = rng.randrange(12)
    if kind == 0:
        contents = contents[: rng.randrange(len(contents))]
    elif kind == 1:
        damaged = bytearray(contents)
        for _ in range(rng.randrange(1, 9)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        contents = bytes(damaged)
    return contents


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_file_is_read_or_is_one_line(tmp_path, part):
    rng = random.Random(1000 + part)
    path = tmp_path / "run.toml"
    n_read = 0
    for _ in range(N_FILES // 4):
        path.write_bytes(mutated(rng))
        try:
            run = load_run(path)
        except ValueError as error:
            message = str(error)
            assert message.startswith(f"{path}: "), message
            assert message.isprintable(), message
            assert len(message) < 1000
        else:
            n_read += 1
            config = run.to_config()
            again = RunFile.from_config(config, "run")
            assert again == run
            assert again.to_config() == config
    assert 0 < n_read < N_FILES // 4


#: What may be said instead, and the exit codes of that.
ALTERED = {
    "step_size = 0.2": {
        "1e-6": DONE, "1e100": NUMERICAL, "[0.1]": DONE, "[]": BAD_INPUT, "0": BAD_INPUT,
    },
    "delta = 3.0": {"1e-6": DONE, "1e6": DONE, "0.0": BAD_INPUT, "nan": BAD_INPUT},
    'loss = "pseudo-huber"': {'"square"': DONE, '"logistic"': BAD_INPUT},
    'label = "phase-retrieval"': {'"linear"': DONE, '"phase-retrieval"\nnoise = 10.0': DONE},
    'activation = "gelu"': {'"quadratic"': DONE, '"relu"': DONE, '"gleu"': BAD_INPUT},
}  # fmt: skip


@pytest.mark.slow
def test_small_runs_of_altered_files_end_with_a_code(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dmft.plotting.plot_trajectory", lambda *_: None)
    monkeypatch.setattr("dmft.plotting.save_figure", lambda _, path: path.touch() or path)
    path = tmp_path / "run.toml"
    command = ["trajectory", str(path), "--out", str(tmp_path / "out"), "--threads", "1", "--force"]
    for old, values in ALTERED.items():
        assert old in ONE_STEP
        for value, expected in values.items():
            path.write_text(ONE_STEP.replace(old, f"{old.partition(' = ')[0]} = {value}"))
            code, out, err = called(capsys, command)
            assert (value, code) == (value, expected)
            assert err.count("\n") == (code == BAD_INPUT)
            assert bool(out) == (code != BAD_INPUT)
