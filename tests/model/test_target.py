"""The law of the labels: arguments, labels of one's own, noise."""

import numpy as np
import pytest

from dmft.model.problem import Problem
from dmft.model.target import Target


def first(z, eps):
    return z[:, 0]


def second(z, eps):
    return z[:, 1]


def noisy_square(z, eps):
    return z[:, 0] ** 2 + 0.1 * eps


class TestTarget:
    def test_k_of_names_and_callables(self):
        assert Target("product").k == 2
        assert Target("product", k=2).k == 2
        assert Target(first).k == 1
        assert Target(first, k=3).k == 3
        with pytest.raises(ValueError, match="k must be 2 for label 'product', got 3"):
            Target("product", k=3)
        with pytest.raises(ValueError, match="k must be an integer >= 1, got 0"):
            Target(first, k=0)

    def test_label_is_checked(self):
        with pytest.raises(ValueError, match=r"label must be one of .*got 'prodct' \(did you mean"):
            Target("prodct")
        with pytest.raises(ValueError, match=r"label must be one of .*or a callable .*; got 7"):
            Target(7)

    def test_noise_is_checked(self):
        with pytest.raises(ValueError, match="noise must be a finite number >= 0, got -1"):
            Target("linear", noise=-1.0)
        with pytest.raises(ValueError, match="noise must be 0 for a label that has noise of its"):
            Target(lambda z, eps: z[:, 0] + eps, noise=0.1)

    def test_noise_is_added_to_a_label_of_ones_own_that_has_none(self):
        own, entry = (
            Target(lambda z, eps: z[:, 0] ** 2, noise=0.3),
            Target("phase-retrieval", noise=0.3),
        )
        z, eps = np.random.default_rng(0).standard_normal((2, 50))
        np.testing.assert_array_equal(
            own.sample_labels(z[:, None], eps), entry.sample_labels(z[:, None], eps)
        )
        assert own.uses_noise
        np.testing.assert_array_equal(own.hard_basis, entry.hard_basis)

    def test_labels_of_wrong_shape(self):
        expected = r"label must return an array of shape \(N,\) = \(512,\).*got shape \(512, 2\)"
        with pytest.raises(ValueError, match=expected):
            Target(lambda z, eps: z, k=2)
        with pytest.raises(ValueError, match=r"got shape \(\)"):
            Target(lambda z, eps: 1.0)

    def test_labels_that_are_not_numbers(self):
        with np.errstate(invalid="ignore"):
            with pytest.raises(ValueError, match=r"label returned non-finite values for 2.. of"):
                Target(lambda z, eps: np.sqrt(z[:, 0]))
            target = Target(lambda z, eps: np.sqrt(z[:, 0] + 5.0))
            expected = "label returned non-finite values for 1 of 3 samples"
            with pytest.raises(ValueError, match=expected):
                target.sample_labels(np.array([[1.0], [-1.0], [-6.0]]), np.zeros(3))
        for bad in (lambda z, eps: z[:, 0] * 1j, lambda z, eps: z[:, 0].astype(str)):
            with pytest.raises(ValueError, match=r"got ndarray of \S+, not real numbers"):
                Target(bad)

    def test_exceptions_of_the_label_are_chained(self):
        def broken(z, eps):
            return z[:, 5]

        with pytest.raises(ValueError, match=r"label 'broken' failed.*IndexError") as info:
            Target(broken).sample_labels(np.ones((5, 1)), np.ones(5))
        assert isinstance(info.value.__cause__, IndexError)

    def test_inputs_of_sample_labels_are_checked(self):
        target = Target("product")
        with pytest.raises(ValueError, match=r"z must have shape \(N, 2\), got shape \(2, 5\)"):
            target.sample_labels(np.ones((2, 5)), np.ones(5))
        with pytest.raises(ValueError, match=r"eps must have shape \(5,\), got shape \(5, 1\)"):
            target.sample_labels(np.ones((5, 2)), np.ones((5, 1)))

    def test_integer_and_boolean_labels_become_floats(self):
        y = Target(lambda z, eps: z[:, 0] > 0).sample_labels(np.array([[1.0], [-1.0]]), np.zeros(2))
        assert y.dtype == np.float64
        assert y.tolist() == [1.0, 0.0]

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            (Target("linear"), False),
            (Target("linear", noise=0.1), True),
            (Target(first), False),
            (Target(noisy_square), True),
            # noise that only flips a label when it is large
            (Target(lambda z, eps: np.sign(z[:, 0]) * np.where(eps > 2.0, -1.0, 1.0)), True),
        ],
    )
    def test_uses_noise(self, target, expected):
        assert target.uses_noise is expected

    def test_hard_directions_stated_as_indices(self):
        assert Target(first, k=3, hard_directions=[2, 1]).hard_basis.T.tolist() == [
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0],
        ]
        assert Target("product", hard_directions=[]).hard_basis.shape == (2, 0)
        assert Target(first, k=3, hard_directions=range(1, 3)).hard_directions == (1, 2)

    def test_hard_directions_stated_as_columns(self):
        target = Target(
            lambda z, eps: (3 * z[:, 0] + 4 * z[:, 1]) ** 2, k=2, hard_directions=[[3.0], [4.0]]
        )
        np.testing.assert_allclose(target.hard_basis, [[0.6], [0.8]], rtol=1e-15)
        np.testing.assert_allclose(target.easy_projector @ [[3.0], [4.0]], 0.0, atol=1e-15)
        # A coordinate plane, spanned obliquely: unit vectors, exactly.
        oblique = Target(second, k=3, hard_directions=[[1.0, 1.0], [0.0, 0.0], [1.0, -3.0]])
        np.testing.assert_array_equal(oblique.hard_basis, np.eye(3)[:, [0, 2]])
        np.testing.assert_array_equal(oblique.easy_projector, np.diag([0.0, 1.0, 0.0]))

    @pytest.mark.parametrize(
        "directions",
        [[3], [-1], [0, 0], [0.5], [True], [[1.0, 2.0]], np.ones((3, 2)), np.eye(2), "ab", 5],
    )
    def test_bad_hard_directions(self, directions):
        with pytest.raises(ValueError, match="hard_directions must"):
            Target(first, k=3, hard_directions=directions)

    def test_hard_directions_found(self):
        target = Target(lambda z, eps: z[:, 1] + z[:, 0] ** 2, k=2)
        np.testing.assert_array_equal(target.hard_basis, [[1.0], [0.0]])
        np.testing.assert_array_equal(target.easy_projector, np.diag([0.0, 1.0]))
        assert target.hard_basis is target.hard_basis
        with pytest.raises(ValueError, match="read-only"):
            target.hard_basis[0] = 0.0


RNG = np.random.default_rng(0)


def in_place(z, eps):
    z *= 2.0
    return z[:, 0]


class TestLabelsOfOnesOwn:
    @pytest.mark.parametrize(
        ("label", "message"),
        [
            (lambda z, eps: z[:, 0] ** 2 + RNG.standard_normal(len(z)), "512 of 512 change when"),
            # One label in fifty is flipped.
            (
                lambda z, eps: np.sign(z[:, 0]) * np.where(RNG.random(len(z)) < 0.02, -1, 1),
                "noise comes from its argument eps",
            ),
            # The same noise in every call, whatever the rows are.
            (
                lambda z, eps: z[:, 0] + np.random.default_rng(0).standard_normal(len(z)),
                "must depend on one row of z and one eps only",
            ),
            (lambda z, eps: z[:, 0] / np.abs(z).max(), "must depend on one row of z"),
            (lambda z, eps: z[:, 0] - z.mean(), "must depend on one row of z"),
            (lambda z, eps: z[:, 0] * len(z), "must depend on one row of z"),
            (lambda z, eps: np.sort(z[:, 0]), "must depend on one row of z"),
            (lambda z, eps: np.cumsum(eps), "must depend on one row of z"),
        ],
    )
    def test_what_is_no_function_of_its_row_is_refused(self, label, message):
        with pytest.raises(ValueError, match=message) as info:
            Target(label)
        assert "\n" not in str(info.value)

    @pytest.mark.parametrize(
        "label",
        [
            lambda z, eps: z @ np.array([0.3, 0.7, -0.2]),
            lambda z, eps: np.exp(30.0 * z[:, 0]) - np.exp(30.0 * z[:, 1]),
            lambda z, eps: [float(row[0]) for row in z],
            lambda z, eps: z[:, 0].astype(np.float32),
            lambda z, eps: np.float64(1.0) * (z[:, 0] + eps > 0),
            lambda z, eps: np.zeros(len(z), dtype=int),
            in_place,
        ],
    )
    def test_functions_of_the_row_pass(self, label):
        z, eps = RNG.standard_normal((7, 3)), RNG.standard_normal(7)
        before = z.copy()
        y = Target(label, k=3).sample_labels(z, eps)
        assert (y.dtype, y.shape) == (np.float64, (7,))
        np.testing.assert_array_equal(z, before)

    @pytest.mark.parametrize(
        ("label", "k", "stated", "direction"),
        [
            (lambda z, eps: z[:, 0], 1, [0], "[1]"),
            (lambda z, eps: z[:, 0] ** 3 - 3 * z[:, 0], 1, [0], "[1]"),  # no linear correlation
            (lambda z, eps: 0.2 * z[:, 0] + eps, 1, [0], "[1]"),
            (lambda z, eps: z[:, 0] + z[:, 1] ** 2, 2, [0], "[1, 0]"),
            (lambda z, eps: z[:, 0] + z[:, 1] ** 2, 2, [0, 1], "[1, 0]"),
            (lambda z, eps: z[:, 0] + z[:, 1] ** 2, 2, [[1.0], [1.0]], "[0.707, 0.707]"),
            (lambda z, eps: z[:, 0] + z[:, 0] * z[:, 1], 2, [1], "[0, 1]"),  # a staircase
            (lambda z, eps: z[:, 0] ** 2 + z[:, 5], 6, [0, 5], "1]"),  # more than are searched
        ],
    )
    def test_easy_directions_stated_as_hard_are_refused(self, label, k, stated, direction):
        target = Target(label, k=k, hard_directions=stated)
        with pytest.raises(ValueError, match=r"labels.* explain .* standard errors") as info:
            _ = target.hard_basis
        assert direction in str(info.value)
        assert float(str(info.value).split("(")[1].split()[0]) > 100.0
        with pytest.raises(ValueError, match="hard_directions must be hard"):
            Problem(target, initial_overlap=np.zeros((1, k)))

    @pytest.mark.parametrize(
        ("label", "k", "stated"),
        [
            (lambda z, eps: z[:, 0] ** 2, 1, [0]),
            (lambda z, eps: z[:, 0] * z[:, 1], 2, [0]),  # both are hard: too few do no harm
            (lambda z, eps: z[:, 0] + z[:, 1] ** 2, 2, []),
            (lambda z, eps: 0.02 * z[:, 0] + eps, 1, [0]),  # easy by 4e-4 of the variance
            (lambda z, eps: z[:, 0] ** 2 + z[:, 5], 6, [0, 1, 2, 3, 4]),
            (lambda z, eps: z[:, 0] ** 2 + 0.06 * z[:, 0], 1, [0]),  # not clear
        ],
    )
    def test_what_is_not_clearly_easy_may_be_stated(self, label, k, stated):
        target = Target(label, k=k, hard_directions=stated)
        np.testing.assert_array_equal(target.hard_basis, np.eye(k)[:, stated])
