"""Hypothesis strategies of small problems, methods and samplings."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import dmft

SMOOTH = ("gelu", "tanh", "erf", "softplus", "silu", "linear")
TARGETS = ("phase-retrieval", "linear", "easy-hard", "staircase", "product")
INPUTS = (
    dmft.Elliptical("laplace"),
    dmft.Elliptical("student-t", degrees_of_freedom=9),
    dmft.IndependentLatents("rademacher"),
)
SAMPLING = dmft.Sampling(n_paths=64, replicates=2, seed=1)


def examples(count):
    """Return settings: that many examples, always the same ones, none made smaller on failure."""
    return settings(
        deadline=None, derandomize=True, database=None, max_examples=count,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip


@st.composite
def problems(draw, targets=TARGETS, inputs=INPUTS):
    """Draw a problem of one to three neurons."""
    layer = draw(st.lists(st.sampled_from([-1.0, -0.5, 0.3, 0.7, 1.0]), min_size=1, max_size=3))
    target = dmft.Target(draw(st.sampled_from(targets)), noise=draw(st.sampled_from([0.0, 0.5])))
    if inputs:  # a law for each latent coordinate, too
        inputs = (*inputs, dmft.IndependentLatents(["normal", "laplace"][-target.k :]))
    return dmft.Problem(
        target,
        dmft.Network(
            draw(st.sampled_from(SMOOTH)), layer, biases=draw(st.sampled_from([None, 0.5]))
        ),
        draw(st.sampled_from(["pseudo-huber", "square"])),
        init_radius=draw(st.sampled_from([0.5, 1.0])),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        inputs=draw(st.sampled_from([None, None, None, *inputs])),
    )


def deltas():
    return st.sampled_from([0.5, 1.0, 3.0, 8.0])


def steps(count):
    """Draw step sizes of that many steps."""
    return st.lists(st.sampled_from([0.05, 0.1, 0.3]), min_size=count, max_size=count)
