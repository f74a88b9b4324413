"""Problems whose Hessian has outliers in easy directions, in hard ones, or in both."""

import numpy as np
import problems


def noise_free_sign(z, eps):
    """One easy direction."""
    return np.sign(z[:, 0])


def two_hard(z, eps):
    """Both directions hard."""
    return 2.0 * np.tanh(z[:, 0]) * np.sign(z[:, 1])


def easy_and_hard(z, eps):
    """z_1 easy, z_2 hard; with opposite signs an outlier on each side of the bulk."""
    return np.tanh(z[:, 0]) + 3.0 * np.tanh(1.0 - z[:, 1] ** 2)


CASES = {
    "easy, m = 1": problems.Case(
        "easy, m = 1", "tanh", (3.0,), noise_free_sign, 1, "logistic",
        delta=8.0, step_size=0.2, n_steps=20,
    ),
    "easy, m = 2": problems.Case(
        "easy, m = 2", "tanh", (3.0, 1.5), noise_free_sign, 1, "pseudo-huber",
        delta=6.0, step_size=0.3, n_steps=20,
    ),
    "two hard": problems.Case(
        "two hard", "gelu", (1.0, -1.0), two_hard, 2, "pseudo-huber",
        delta=8.0, step_size=0.4, n_steps=20, hard=(0, 1),
    ),
    "easy and hard": problems.Case(
        "easy and hard", "gelu", (1.5, -1.0), easy_and_hard, 2, "pseudo-huber",
        delta=12.0, step_size=0.2, n_steps=20, hard=(1,),
    ),
}  # fmt: skip
