# %% [markdown]
# # 5. SITCOM inside out
#
# **What you will be able to do:** follow one method step by step with its own functions, see each of its three
# consistencies in a figure, know why it stops where it does, and choose between its two inner solvers by what they
# cost.
#
# ## The method
#
# SITCOM goes down the noise levels `sigma_1 > sigma_2 > ... > 0`. At each it has a state `x_t` that should be the image
# plus noise of standard deviation `sigma`, and it looks for a better *input* `v` of the denoiser `D`:
#
#     v     = argmin |A f(v) - y|^2 + lam |v - x_t|^2,    f(v) = D(v; sigma)      start from v = x_t
#     x_t+1 = f(v) + sigma_next n,                        n ~ N(0, 1)
#
# - **measurement consistency:** `A f(v)` agrees with `y`;
# - **backward consistency:** what agrees is `f(v)`, an output of the denoiser, and not an image corrected afterwards;
# - **forward consistency:** the next state is made as the forward process makes it: fresh noise on a clean image.
#
# (Alkhouri et al., ICML 2025. The few places where the library leaves the paper are in `invdiff/solvers/sitcom.py`.)

# %% [markdown]
# ## A scan
#
# The packaged slice, cut to the head. Its 99.5th percentile is made 1, the scale that this prior was trained with, so
# that everything on this page is in the prior's units. (`invdiff.solve` finds that scale from the data.)

# %%
import torch

import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import smooth_phase
from invdiff.data.samples import load_sample
from invdiff.operators import CartesianMRI

image = load_sample("brain").image[16:112, 24:104]  # 96 rows, 80 columns
image = image / torch.quantile(image, 0.995)
x = torch.polar(image, smooth_phase((96, 80), seed=0, strength=0.4))[None, None]

sigma_y = 0.03
op = CartesianMRI(cartesian_mask(80, acceleration=4, acs=10, seed=0), shape=(96, 80))
y = op.simulate(x, sigma_y, seed=0)
prior = invdiff.load_prior("brain-mri")

# %% [markdown]
# ## The loop
#
# `inner_solver` gives the map from `x_t` to `f(v)`, by `descend` (Adam on `v`, as in the paper) or by the tilt, which
# comes later. `renoise` is the forward step. These are the functions that `invdiff.solve(method="sitcom")` runs. Here
# they stand in a loop of our own, with fewer steps than its default, and what passes is kept.
#
# To see the misfit at every *inner* step, a hook writes down what the operator is asked: `descend` applies it once for
# each.

# %%
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from invdiff.diffusion.schedule import levels
from invdiff.diffusion.step import renoise
from invdiff.priors.counted import Counted
from invdiff.random import streams
from invdiff.shapes import norm
from invdiff.solvers.sitcom import inner_solver

noise = sigma_y * op.measured(True).sqrt()[None]  # |A x - y| of the true image: what the noise alone leaves
limit = 1.02 * noise  # of |A f(v) - y|, where a level stops
sigmas = levels("karras", 12, prior.sigma_min, prior.sigma_max)  # decreasing, 0 at the end


class Level(NamedTuple):
    """What happens at one noise level: state, D(state), f(v), next state, misfit at every inner step."""

    sigma: float
    sigma_next: float
    state: Tensor
    denoised: Tensor
    x0: Tensor
    following: Tensor
    misfits: list[float]


@torch.no_grad()
def sitcom(solver: str, limit: Tensor, inner: int) -> tuple[list[Level], Counted]:
    """All levels of one run, and the prior with its evaluations counted."""
    counted, (stream, _), misfits, run = Counted(prior), streams(0, 1), [], []
    estimate = inner_solver(solver, y, op, counted, torch.tensor([sigma_y]), limit, inner, lr=0.02, lam=0.0)
    hook = op.register_forward_hook(lambda op, given, out: misfits.append(float(norm(out - y))))
    state = sigmas[0] * stream.like(x)  # of x, the shape alone
    for sigma, sigma_next in pairwise(sigmas):
        misfits.clear()
        x0, _ = estimate(state, sigma)
        following = renoise(x0, sigma_next, stream)
        run.append(Level(sigma, sigma_next, state, prior(state, sigma), x0, following, list(misfits)))
        state = following
    hook.remove()
    return run, counted


run, cost = sitcom("adam", limit, inner=10)
print(f"{len(run)} levels, {cost.nfe} evaluations, {cost.vjps} gradients")

# %% [markdown]
# ## 1. Measurement: |A f(v) - y| at every inner step
#
# One curve for each noise level, one dot for each inner step. The first dot of a level is the denoised state, before
# anything is done for the data.

# %%
from invdiff.plotting.figure import COLOURS, new_figure, show


def draw_misfits(axis, run: list[Level], colour: str, label: str) -> None:
    """The misfit of all inner steps, level after level."""
    start = 0
    for level in run:
        steps = range(start, start + len(level.misfits))
        axis.plot(steps, level.misfits, ".-", color=colour, markersize=4, linewidth=1, label=label)
        start, label = start + len(level.misfits), "_"


figure = new_figure(7.6, 3.4)
axis = figure.subplots()
draw_misfits(axis, run, COLOURS[1], "|A f(v) - y|, a curve for each level")
axis.axhline(float(limit), color="grey", linestyle="--", label="where a level stops: 1.02 times the noise")
axis.set(xlabel="inner step, over all levels", ylabel="misfit, units of the prior", yscale="log")
axis.legend(fontsize=8)
figure

# %% [markdown]
# **What to look at.** Each level brings the misfit down, and re-noising takes some of that back: the next curve begins
# higher than the last one ended. As the noise becomes less, the curves begin lower. Once a level begins near the limit
# it needs few steps, or none.
#
# ## 2. Backward: f(v) is an output of the denoiser
#
# There is a cheaper way to agree with the data: denoise, then put the measured samples back, `z + A^H (y - A z)`. It
# agrees exactly. But `D` would not have made that image. How much of an image does the denoiser take for noise?
# `|z - D(z; s)|` at a small `s` tells: little for its own outputs, more for what is foreign to it.

# %%
from invdiff.plotting import magnitude

SMALL = 0.05  # s


@torch.no_grad()
def residual(z: Tensor) -> Tensor:
    return z - prior(z, SMALL)


def replaced(level: Level) -> Tensor:
    """The denoised state with the measured samples put back."""
    return level.denoised + op.adjoint(y - op(level.denoised))


middle = run[4]
images = {"D(x_t)": middle.denoised, "D(x_t), then y put back": replaced(middle), "f(v)": middle.x0}

figure = new_figure(7.6, 5.4)
axes = figure.subplots(2, 3)
for column, (name, z) in enumerate(images.items()):
    fit = f"|A z - y| / noise: {float(norm(op(z) - y) / noise):.2f}"
    show(axes[0][column], magnitude(z), (0, 1.2), name, fit)
    rest = residual(z)
    size = float(rest.abs().square().mean().sqrt())
    drawn = show(axes[1][column], magnitude(rest), (0, 0.1), "", f"|z - D(z)|, rms {size:.3f}", "magma")
figure.colorbar(drawn, ax=list(axes[1]), shrink=0.8).set_label("units of the prior")
figure.suptitle(f"at noise level {middle.sigma:.2f}", fontsize=11)
figure

# %%
print(f"{'sigma':>8}{'D(x_t)':>10}{'y put back':>12}{'f(v)':>8}     rms of z - D(z; {SMALL})")
for level in run[:-1]:
    sizes = [float(residual(z).abs().square().mean().sqrt()) for z in (level.denoised, replaced(level), level.x0)]
    print(f"{level.sigma:8.2f}{sizes[0]:10.3f}{sizes[1]:12.3f}{sizes[2]:8.3f}")

# %% [markdown]
# **What to look at.** In the middle: the samples are put back at the lines that were measured and nowhere else, so the
# image carries their noise, and streaks where they do not fit their neighbours. The denoiser would remove much of that.
# On the right, `f(v)` has come nearer to the data than `D(x_t)` and leaves the denoiser as little to remove as that
# did. It does not yet agree with the data at this level: that is left to the levels below. The table has all of them.
#
# ## 3. Forward: fresh noise on a clean image
#
# At the next level the denoiser is told `sigma_next`. That has to be true of the state. Here the truth is known, so we
# can compare: how far from the true image is the state, per real component, and how far would it be without re-noising?

# %%
figure = new_figure(7.6, 5.0)
top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.1))
for axis, level in zip(top.subplots(1, 5), run[1:11:2], strict=False):
    show(axis, magnitude(level.state), (0, 1.2 + 2 * level.sigma), f"x_t at {level.sigma:.2f}", "")


def error(z: Tensor) -> float:
    """Standard deviation of z - x per real component."""
    return float((z - x).abs().square().mean().sqrt()) / 2**0.5


told = [level.sigma_next for level in run[:-1]]
axis = bottom.subplots()
axis.loglog(told, told, color="grey", linestyle="--", label="what the denoiser is told")
axis.loglog(told, [error(level.following) for level in run[:-1]], "o-", color=COLOURS[1], label="re-noised: f(v) + n")
axis.loglog(told, [error(level.x0) for level in run[:-1]], "s-", color=COLOURS[2], label="not re-noised: f(v)")
axis.invert_xaxis()
axis.set(xlabel="sigma_next (time goes to the right)", ylabel="distance from the true image")
axis.legend(fontsize=8)
figure

# %% [markdown]
# **What to look at.** Re-noised states lie on the dashed line while the noise is larger than the error of `f(v)`: the
# denoiser is told the truth. Without noise the state would be far nearer to the image than it is told, which is not
# what a denoiser is trained for. At the end the error of `f(v)` is larger than `sigma_next`: from there on what the
# denoiser is told is too little, and the distance to the true image hardly changes.
#
# ## Why it stops at the noise
#
# The true image has a misfit of `sigma_y sqrt(m)`, `m` the number of measured values. A smaller one is a fit to the
# noise. The same run without the stop:

# %%
on_and_on, cost_on = sitcom("adam", torch.zeros(1), inner=10)

figure = new_figure(7.6, 3.4)
axis = figure.subplots()
draw_misfits(axis, on_and_on, COLOURS[2], f"never stops, {cost_on.nfe} evaluations")
draw_misfits(axis, run, COLOURS[1], f"stops at the noise, {cost.nfe} evaluations")
axis.axhline(float(limit), color="grey", linestyle="--")
axis.set(xlabel="inner step, over all levels", ylabel="misfit, units of the prior", yscale="log")
axis.legend(fontsize=8)
figure


# %%
def chi2(z: Tensor) -> float:
    """|A z - y|^2 in units of what the noise leaves; of the true image it is about 1."""
    return float((norm(op(z) - y) / noise) ** 2)


for name, image in {"stops at the noise": run[-1].x0, "never stops": on_and_on[-1].x0}.items():
    print(f"{name:20} chi2 {chi2(image):.2f}   distance from the true image {error(image):.4f}")

# %% [markdown]
# ## The tilt: the same without gradients
#
# Adam needs the derivative of the network in every inner step, which costs about twice an evaluation more. For a linear
# operator the library has another way to move `v`: only along the data, `v = x_t + A^H q`, with `q` from
#
#     A D(x_t + A^H q; sigma) + (sigma_y / sigma)^2 q = y
#
# which for a Gaussian image is exactly `E[x0 | x_t, y]`. Five steps on `q`, an evaluation each, no derivative. The term
# in `q` plays the part of the stop.

# %%
tilted, cost_tilt = sitcom("tilt", limit, inner=5)

print(f"{'':8}{'evaluations':>12}{'gradients':>11}{'in evaluations':>16}{'chi2':>8}")
for name, image, spent in (("adam", run[-1].x0, cost), ("tilt", tilted[-1].x0, cost_tilt)):
    print(f"{name:8}{spent.nfe:12}{spent.vjps:11}{spent.nfe + 2 * spent.vjps:16}{chi2(image):8.2f}")

# %% [markdown]
# (A gradient is counted as two evaluations.) And the loop of this page is the solver: asked for the same steps,
# `invdiff.solve` returns the same image.

# %%
same = {"steps": 12, "solver": "tilt", "inner": 5, "scale": 1.0, "tuned": False, "seed": 0}
result = invdiff.solve(y, op, prior, "sitcom", sigma_y=sigma_y, **same)
difference = float((result.x - tilted[-1].x0).abs().max())
print(f"largest difference from the loop above: {difference:.1e}")
assert difference < 1e-3  # the image has values around 1

# %%
from invdiff.metrics import psnr
from invdiff.plotting import Panel, compare

truth = magnitude(x)
endings = {"adam": run, "adam, never stops": on_and_on, "tilt": tilted}
panels = [
    Panel(name, magnitude(r[-1].x0), f"PSNR {psnr(truth, magnitude(r[-1].x0)):.1f} dB") for name, r in endings.items()
]
compare(truth, panels, op.sampled[0, 0].expand(96, 80).numpy(), "SITCOM, 12 levels")

# %% [markdown]
# **What to look at.** The run that never stops has copied noise into the image, most visibly outside of the head. The
# errors of `adam` and `tilt` are alike in size; `tilt` is the smoother one. PSNR is of this slice and this seed, and
# nothing was chosen by it.
#
# ## Limits
#
# - One slice and few steps, to keep the page quick. `invdiff.solve` takes 20 levels and up to 20 inner steps.
# - The stop needs the noise level: a `sigma_y` that is too small fits noise, one too large leaves data unused.
# - `f(v)` is an output of *this* denoiser. Where the prior does not know your kind of image, being one of its outputs
#   is no virtue: see `prior.check` in tutorial 7.
# - `tilt` is for linear operators.
#
# ## Next
#
# - Set `lam=1.0` in `inner_solver`, or `inner=2`, and draw the first figure again.
# - The other methods on the same data: tutorial 4. The derivations: `invdiff/solvers/sitcom.py` and `tilt.py`.
