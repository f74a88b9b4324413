# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The second phase: what $\delta_{NN}(\infty)$ means for runs
#
# **The question.** Gradient descent has fitted what it can of its samples without the hidden
# direction $\theta_*$. From there on, does it still find the direction, and when?
#
# **What theory says.** A random start has an overlap $d^{-1/2}$ with $\theta_*$, which has to be
# amplified to order one. While the gap, the smallest eigenvalue of $A_h$, is negative, the Hessian
# has an outlier along $\theta_*$ that does so. Above $\delta_{NN}(\infty)$ the outlier stays for
# ever, below it joins the bulk at the time $t$ at which $\delta_{NN}(t) = \delta$. An outlier
# that stays away from zero takes a time of order $\log d$; one that approaches zero like $1/t$, as
# the left edge of the bulk does, a power of $d$.
#
# One neuron with GELU, pseudo-Huber loss, labels $y = \langle\theta_*, x\rangle^2$, time $t$ of
# gradient flow; the limit $\delta_{NN}(\infty)$ of this problem lies between 10 and 11.
#
# The results of every stage are kept in the folder `DELTA_NN_DATA`, if there is one, and every run
# of finite dimension as soon as it ends. What is there is not computed again.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.special import erfc, erfcinv
from scipy.stats import binom, binomtest

import dmft
import dmft.plotting
from dmft.studies.initial_overlap import effective_initial_overlap

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
figures = os.environ.get("DELTA_NN_FIGURES")  # where the figure is written, if anywhere
data = os.environ.get("DELTA_NN_DATA")  # where results are kept, if anywhere

deltas = (8, 14) if small else (8, 10, 11, 12, 14)
n_seeds = {60: 6, 120: 4} if small else {500: 16, 2000: 8}
t_max = 60.0 if small else 600.0  # of the runs
step_size = 0.4
budgets = (20.0, t_max) if small else (100.0, t_max)  # most runs need the first only
recovery = 0.5  # squared cosine

gap_times = np.concatenate([[0], np.geomspace(1, 60 if small else 800, 8 if small else 25)])
gap_sampling = dmft.Sampling(
    n_paths=1024 if small else 16384, replicates=8, seed=0, rank_tolerance=1e-6
)
start_sampling = dmft.Sampling(
    n_paths=512 if small else 4096, replicates=8, seed=0, rank_tolerance=1e-6
)
starts = 0.3 * 0.5 ** np.arange(4 if small else 9)  # initial overlaps to follow
growth = dmft.GradientDescent(step_size, 50 if small else 150)  # for the noise of the data

problem = dmft.Problem(
    target=dmft.Target("phase-retrieval"),
    network=dmft.Network(activation="gelu"),
    loss="pseudo-huber",
)
colors = dict(zip(deltas, ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#D55E00"), strict=False))


def kept(name, settings, columns, compute):
    """Return a table, read where it is kept with these settings, or computed (and kept)."""
    path = Path(data) / f"{name}.csv" if data else None
    header = f"{settings}\n{columns}"
    if path and path.exists():
        if path.read_text().splitlines()[:2] != [f"# {line}" for line in header.splitlines()]:
            raise ValueError(f"{path} must hold results of {settings}; choose another folder")
        return np.loadtxt(path, delimiter=",", ndmin=2)
    table = np.array(compute(), dtype=float)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, table, delimiter=",", fmt="%.6g", header=header)
    return table


# %% [markdown]
# ## Theory: the gap against time
#
# One solve for each $\delta$, along gradient flow with the overlap held at zero.


# %%
def gaps(delta):
    """Rows (time, gap, its error, left edge, outlier along the hard direction or that edge)."""
    flow = dmft.GradientFlow(gap_times[-1], times=gap_times)
    run = dmft.solve(problem, delta, flow, gap_sampling, hessian_steps=range(len(gap_times)))
    rows = []
    for step, t in enumerate(gap_times):
        law = run.hessian(step)
        error = law.stderr("hard_gap") if law.replicates else 0.0  # step 0 is a quadrature
        left = law.edges().left
        lowest = min([left, *(outlier.value for outlier in law.outliers("hard"))])
        rows.append((t, law.hard_gap(), error, left, lowest))
    return rows


def vanishing(table, shift=0):
    """Time from which the gap, shifted by some standard errors, stays positive, or infinity."""
    t, gap = table[1:, 0], table[1:, 1] + shift * table[1:, 2]
    last = len(gap) - 1 - int(np.argmax(gap[::-1] < 0))
    if last == len(gap) - 1:
        return np.inf
    return float(np.exp(np.interp(0.0, gap[last : last + 2], np.log(t[last : last + 2]))))


gap = {
    delta: kept(
        f"gap-{delta}",
        f"delta {delta}, {gap_sampling}",
        "time,gap,stderr,left edge,outlier",
        lambda delta=delta: gaps(delta),
    )
    for delta in deltas
}
vanished = {delta: vanishing(gap[delta]) for delta in deltas}

# %% [markdown]
# ## Runs from random starts
#
# Nothing is held here. A run has recovered $\theta_*$ when the squared cosine between $\theta$ and
# $\theta_*$, which does not tell $\theta_*$ from $-\theta_*$, reaches one half. Runs that do within
# the first budget are not followed further.


# %%
def recovery_times(d, delta):
    """Times at which the seeds recover; infinite if they do not within the last budget."""
    times = np.full(n_seeds[d], np.inf)
    for budget in budgets:
        pending = np.flatnonzero(np.isinf(times))
        if not len(pending):
            break
        method = dmft.GradientDescent(step_size, round(budget / step_size))
        folder = f"seeds/d{d}/delta-{delta}/steps-{method.n_steps}"
        runs = dmft.simulate(
            problem, delta, method, d, pending, checkpoint=Path(data) / folder if data else None
        )
        for seed, cosine in zip(pending, runs.hard_cosine, strict=True):
            if (cosine >= recovery).any():
                times[seed] = step_size * np.argmax(cosine >= recovery)
    return times


runs = {
    d: kept(
        f"runs-d{d}",
        f"d {d}, step size {step_size}, time {t_max:g}, squared cosine {recovery}",
        f"recovery times of seeds 0 to {n_seeds[d] - 1}; rows: delta {', '.join(map(str, deltas))}",
        lambda d=d: [recovery_times(d, delta) for delta in deltas],
    )
    for d in n_seeds
}

# %% [markdown]
# ## Prediction
#
# In the limit, a run that starts from a finite overlap $\mu$ recovers at a time $T(\mu)$, or
# never. The data add noise, as if the overlap had been drawn from $N(0, (1 + S)/d)$. So at
# dimension $d$ a fraction $\mathrm{erfc}\big(\mu \sqrt{d / (2 (1 + S))}\big)$ of the runs has
# recovered by the time $T(\mu)$. Nothing is fitted.


# %%
def recovers_at(delta, start):
    """Time at which a run from an overlap recovers, with its standard error."""
    times = np.concatenate([[0], np.geomspace(1, t_max, 120)])
    flow = dmft.GradientFlow(t_max, times=times)
    run = dmft.solve(problem.with_hard_overlap(start), delta, flow, start_sampling)
    found = []
    for overlap, norm in (
        (run.overlap, run.norm),
        *zip(run.per_replicate("overlap"), run.per_replicate("norm"), strict=True),
    ):
        cosine = overlap[:, 0, 0] ** 2 / norm[:, 0, 0]
        after = int(np.argmax(cosine >= recovery))
        ends = slice(after - 1, after + 1)
        found.append(np.interp(recovery, cosine[ends], times[ends]) if after else np.inf)
    value, replicates = found[0], np.array(found[1:])
    finite = np.isfinite(replicates).all()
    return value, replicates.std(ddof=1) / len(replicates) ** 0.5 if finite else np.inf


def predicted_times(delta):
    """Rows (overlap, time, its error, S), overlaps decreasing to the smallest that recovers."""
    noise = effective_initial_overlap(problem, delta, growth, start_sampling).covariance[0, 0]
    rows = []
    for start in starts:
        rows.append((start, *recovers_at(delta, start), noise))
        if np.isinf(rows[-1][1]):  # the smallest start that recovers, by bisection
            low, high = start, rows[-2][0]
            rows.pop()
            for _ in range(2 if small else 4):
                middle = (low * high) ** 0.5
                row = (middle, *recovers_at(delta, middle), noise)
                if np.isinf(row[1]):
                    low = middle
                else:
                    high = middle
                    rows.append(row)
            break
    return rows


prediction = {
    delta: kept(
        f"starts-{delta}",
        f"delta {delta}, {start_sampling}",
        "overlap,time,stderr,S",
        lambda delta=delta: predicted_times(delta),
    )
    for delta in deltas
}


def fraction(delta, d):
    """Times, and the predicted fraction of runs of dimension d that have recovered by then."""
    start, time, _, noise = prediction[delta].T
    fine = np.geomspace(start[0], start[-1], 200)
    time = np.exp(np.interp(-np.log(fine), -np.log(start), np.log(time)))
    return time, erfc(fine * np.sqrt(d / (2 * (1 + noise[0]))))


def median_time(delta):
    """Dimensions, and the time by which half of the runs are predicted to recover."""
    start, time, error, noise = prediction[delta].T
    return (1 + noise) * 2 * (erfcinv(0.5) / start) ** 2, time, error


# %% [markdown]
# **How to read the figure.** Top left: the gap; the outlier is there while the curve is below zero
# (band: one standard error). Top right: time by which half of the runs recover, against their
# dimension. Lines: prediction, dashed where some replicates of the paths do not recover at all;
# small marks: runs, triangles those that have not recovered at the end; large marks: their median.
# Bottom: fraction of the runs that have recovered by time $t$. Steps: simulation; thin lines:
# prediction; marks at the margin: 95 % interval (Wilson); triangles: the outlier joins the bulk.


# %%
def median_interval(times):
    """Median of the times and its 95 % interval, by order statistics."""
    ordered, count = np.sort(times), len(times)
    rank = int(binom.ppf(0.025, count, 0.5))
    low = ordered[rank - 1] if rank else 0.0
    high = ordered[count - rank] if rank else np.inf
    return np.median(times), low, high


def wilson(times):
    """Fraction of the runs that have recovered, and its 95 % interval."""
    interval = binomtest(int(np.isfinite(times).sum()), len(times)).proportion_ci(method="wilson")
    return np.isfinite(times).mean(), interval.low, interval.high


with dmft.plotting.style():
    figure, ((top, right), bottom) = plt.subplots(2, 2, figsize=(7.0, 5.8), layout="constrained")
    top.axhline(0.0, color="0.2", linewidth=0.8)
    for delta, color in colors.items():
        t, value, error = gap[delta][1:, :3].T
        top.plot(t, value, color=color, label=rf"$\delta = {delta}$")
        top.fill_between(t, value - error, value + error, color=color, alpha=0.25, linewidth=0)

        d, t, error = median_time(delta)
        sure = np.isfinite(error)
        right.plot(d, t, color=color, linewidth=1.2, linestyle=(0, (4, 1.5)))
        right.plot(d[sure], t[sure], color=color)
        for marker, size in zip("os", n_seeds, strict=True):
            times = runs[size][deltas.index(delta)]
            x = size * 1.16 ** (deltas.index(delta) - (len(deltas) - 1) / 2)
            late = np.where(np.isinf(times), t_max, np.nan)
            right.plot(np.full(len(times), x), times, marker, color=color, markersize=3, alpha=0.5)
            right.plot(
                x, np.median(times), marker, color=color, markersize=7, markeredgecolor="0.2"
            )
            right.plot(np.full(len(times), x), late, "^", color=color, clip_on=False)
    for axes, size in zip(bottom, n_seeds, strict=True):
        for place, (delta, color) in enumerate(colors.items()):
            times = np.sort(runs[size][deltas.index(delta)])
            times = times[np.isfinite(times)]
            steps = np.arange(1, len(times) + 1) / n_seeds[size]
            axes.step([1, *times, t_max], [0, *steps, *steps[-1:]] if len(steps) else [0, 0],
                      where="post", color=color, linewidth=1.8)  # fmt: skip
            t, expected = fraction(delta, size)
            axes.plot(t, expected, color=color, linewidth=0.9)
            value, low, high = wilson(runs[size][deltas.index(delta)])
            x = t_max * 1.12 ** (place + 1)
            axes.plot([x, x], [low, high], color=color, linewidth=1.4)
            axes.plot(x, value, "os"[list(n_seeds).index(size)], color=color, markersize=4.5)
            if vanished[delta] < t_max:
                axes.plot(vanished[delta], 1.02, "v", color=color, markersize=7, clip_on=False)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(4, t_max * 1.9)
        axes.set_ylabel("recovered")
        axes.set_title(f"$d = {size}$, {n_seeds[size]} runs per $\\delta$")
    top.set_xlim(4, gap_times[-1])
    top.set_ylim(-0.15, 0.05)
    top.set_ylabel(r"gap  $\lambda_{\min} A_h$")
    top.legend(loc="lower right")
    for axes in (top, *bottom):
        axes.set_xlabel("time $t$")
        axes.set_xscale("log")
        ticks = [x for x in (5, 10, 20, 50, 100, 200, 400, 800) if x <= axes.get_xlim()[1]]
        axes.set_xticks(ticks, [str(x) for x in ticks])
        axes.minorticks_off()
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("dimension $d$")
    right.set_xlim(50, 3e5)
    right.set_ylim(4, t_max)
    right.set_ylabel("median time of recovery")
plt.close(figure)
if figures:
    dmft.plotting.save_figure(figure, Path(figures) / "second-phase.png")
figure

# %% [markdown]
# ## In numbers

# %%
print("gap lambda_min A_h, and when the outlier joins the bulk")
shown = [int(np.argmin(np.abs(gap_times - t))) for t in (20, 50, 100, 200, 460, 800)]
shown = list(dict.fromkeys(shown))
print("delta  " + "".join(f"t = {gap_times[i]:<14.0f}" for i in shown) + "joins at (one error)")
for delta in deltas:
    row = "".join(f"{v:+.4f} +- {e:.4f} " for v, e in gap[delta][shown, 1:3])
    first, last = vanishing(gap[delta], 1), vanishing(gap[delta], -1)
    end = f"{vanished[delta]:.0f} ({first:.0f} to {last:.0f})"
    print(f"{delta:5g}  {row} {end if np.isfinite(vanished[delta]) else '-'}")


def lasting(delta, d):
    """Predicted fraction that recovers in the end, as text; a bound where all starts do."""
    bound = ">" if np.isclose(prediction[delta][-1, 0], starts[-1], rtol=1e-3) else " "
    return f"{bound}{fraction(delta, d)[1][-1]:.2f}"


print(f"\nrecovered by time {t_max:g} (95 %), predicted fraction; median time (95 %), predicted")
for size in n_seeds:
    before = 0
    for delta, times in zip(deltas, runs[size], strict=True):
        value, low, high = wilson(times)
        median, first, last = median_interval(times)
        at = median_time(delta)
        predicted = np.exp(np.interp(np.log(size), np.log(at[0]), np.log(at[1]), right=np.inf))
        before += np.sum(times < predicted)
        count, interval = (
            f"{np.isfinite(times).sum():2d} of {len(times):2d}",
            f"({first:.0f} to {last:.0f})",
        )
        print(
            f"d = {size:4d}  delta {delta:2d}  {count} ({low:.2f} to {high:.2f}), "
            f"{lasting(delta, size)}  {median:6.1f} {interval:12s} {predicted:6.1f}"
        )
    count = runs[size].size
    share = f"{before / count:.2f} +- {0.5 / count**0.5:.2f}"
    print(f"d = {size:4d}  share of the runs before the predicted median: {share} (0.5)")

print("\npredicted median time, and the exponent of its growth with d from 1000 to 10000")
sizes = [100, 1000, 10_000, 100_000]
print("delta  " + "".join(f"d = {size:<12}" for size in sizes) + "exponent")
for delta in deltas:
    d, t, error = median_time(delta)
    values = np.exp(np.interp(np.log(sizes), np.log(d), np.log(t), right=np.inf))
    row = ""
    for size, value in zip(sizes, values, strict=True):
        about = error[min(np.searchsorted(d, size), len(d) - 1)]
        cell = f"{value:.1f} +- {about:.2g}" if np.isfinite(about) else f"about {value:.0f}"
        row += f"{cell if np.isfinite(value) else '-':16}"
    exponent = f"{np.log10(values[2] / values[1]):.2f}" if np.isfinite(values[2]) else "-"
    print(f"{delta:5g}  {row}{exponent}")
