# %% [markdown]
# # 4. Choosing a solver
#
# **What you will be able to do:** run the same data through eight methods, set quality against what each costs, tell a
# method that estimates from one that draws, know what the tuned defaults are, and let `method="auto"` choose within a
# number of seconds.
#
# All methods are given the same three things, `y`, the operator `A` and the noise level. What they look for differs:
#
#     x = argmin |A x - y|^2 + reg(x)       baselines: an image that is smooth, or has few edges
#     x ~ p(x | y)                          samplers: an image as probable as the data and the prior make it
#     x near E[x | y] or argmax p(x | y)    optimisers: one good image, at the cost of knowing how sure it is
#
# `E` is the mean over all images that agree with `y`, each as often as the prior has it.

# %% [markdown]
# ## The scan
#
# The packaged slice, cut to the head to save time, measured with every fourth line on average and noise of 0.02.

# %%
import torch

import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import smooth_phase
from invdiff.data.samples import load_sample
from invdiff.operators import CartesianMRI

image = load_sample("brain").image[16:112, 24:104]  # 96 rows, 80 columns, from 0 to 1
x = torch.polar(image, smooth_phase((96, 80), seed=0, strength=0.4))[None, None]

sigma_y = 0.02
op = CartesianMRI(cartesian_mask(80, acceleration=4, acs=10, seed=0), shape=(96, 80))
y = op.simulate(x, sigma_y, seed=0)
prior = invdiff.load_prior("brain-mri")

# %% [markdown]
# ## Eight methods
#
# `invdiff.METHODS` names them all. Three baselines that need no prior, four optimisers, and `daps`, a sampler, which is
# asked for four draws. `sitcom` is run with its inner solver that needs no gradient (tutorial 5 has the other).

# %%
chosen = {
    "cg": {},
    "wavelet": {},
    "tv": {},
    "dc-pnp": {},
    "diffpir": {},
    "dds": {},
    "sitcom": {"solver": "tilt"},
    "daps": {"num_samples": 4},
}
results = {name: invdiff.solve(y, op, prior, name, sigma_y=sigma_y, seed=0, **o) for name, o in chosen.items()}

print(f"{'':10}{'kind':12}{'evaluations':>12}{'chi2':>8}   what it is")
for name, result in results.items():
    method = invdiff.METHODS[name]
    kind = "baseline" if not method.prior else "sampler" if method.sampler else "optimiser"
    print(f"{name:10}{kind:12}{result.nfe:12}{result.chi2[0]:8.2f}   {method.summary}")

# %% [markdown]
# - **evaluations** of the prior, for each draw. They are most of the time of the methods that use one.
# - **chi2** is `|A x - y|^2 / (m sigma_y^2)`, `m` the number of real values measured. The true image has a `chi2` of 1.
#   One draw of the posterior has about 1 too. An estimate may be below it, since it is fitted to `y`, noise included.
#   So `chi2` finds what did not work (far above 1), and what copies the noise (near 0). It does not find the best.
#
# ## Is it converged?
#
# Each step ends with an estimate `x0` and its misfit. The dashed line is where the true image lies.

# %%
from invdiff.plotting import plot_convergence

figure = plot_convergence([r for r in results.values() if invdiff.METHODS[r.method].prior])
noise = sigma_y * op.measured(True).sqrt() / results["dds"].units.scale[0]  # in the prior's units
figure.axes[0].axhline(float(noise), color="grey", linestyle="--", linewidth=1)
figure.axes[0].set_title("dashed: the noise in the data", fontsize=10)
figure

# %% [markdown]
# **What to look at.** Drawn are the methods that report a misfit at every step; `diffpir` and `dds` do not. `sitcom`
# comes down to the noise and stays there, `dc-pnp` goes below it, and `daps` is near it from the first step on, since
# at every level it *draws* an image that agrees with the data to the noise. A curve that still falls at its end says
# that more steps would fit the data more closely. It does not say that the image would be better.
#
# ## Quality against cost
#
# Here the truth is known, so the error can be measured. It is looked at once, after everything has run. No setting was
# chosen by it, and on your own scan there is no such number.

# %%
from invdiff.metrics import psnr
from invdiff.plotting import Point, magnitude, plot_quality

truth = magnitude(x)
points = [Point(name, psnr(truth, magnitude(r.x)), r.nfe, r.seconds) for name, r in results.items() if name != "daps"]
draws = results["daps"]
points += [
    Point("daps, one draw", psnr(truth, magnitude(draws.samples[:, 0])), draws.nfe, draws.seconds / 4),
    Point("daps, mean of 4", psnr(truth, magnitude(draws.x)), 4 * draws.nfe, draws.seconds),
]
plot_quality(points)

# %% [markdown]
# **What to look at.** Up and left is better. More evaluations do not buy quality across methods: what a method does
# with one matters more. A single draw of a sampler lies below the mean of four, and that is no fault: a draw has the
# fine detail of *one* possible image, and the mean has left out what the draws do not agree on. PSNR rewards leaving
# out.
#
# One slice ranks nothing. Differences of a few tenths of a decibel turn round with another mask or another seed.
#
# ## Draw or estimate: the spread
#
# Run an optimiser several times and its results differ as well. Is that how sure it is? For an exact sampler the truth
# is one more draw, so the mean of `S` draws is off by `sqrt(1 + 1 / S)` times the spread, over many scans.

# %%
again = invdiff.solve(y, op, prior, "dc-pnp", sigma_y=sigma_y, seed=0, num_samples=4)


def rms(values: torch.Tensor) -> float:
    return float(values.abs().square().mean().sqrt())


for result in (again, draws):
    spread, error = rms(result.std), rms(result.x - x)
    expected = spread * (1 + 1 / 4) ** 0.5
    print(f"{result.method:8} spread {spread:.4f}   error expected of it {expected:.4f}   error {error:.4f}")

# %% [markdown]
# Both are surer than they should be here, the optimiser more so. For the sampler the prior is the likeliest reason: it
# has seen other images than this echo-planar one. How near each method comes to an *exact* posterior, where the prior
# is known to be right, is measured in the README.
#
# ## Tuned defaults
#
# A method's own defaults are those of its paper. Where settings were measured on training slices, for this kind of
# operator, prior and noise level, `solve` takes those instead and says so. `tuned=False` goes back, and an option that
# you pass always wins.

# %%
paper = invdiff.solve(y, op, prior, "dc-pnp", sigma_y=sigma_y, seed=0, tuned=False)

for name, result in {"tuned (the default)": results["dc-pnp"], "tuned=False": paper}.items():
    quality = psnr(truth, magnitude(result.x))
    print(f"{name:20} {result.nfe:4} evaluations   PSNR {quality:.2f} dB\n{'':20} {result.status}")

# %% [markdown]
# The gain in the status is a mean over held-out slices. On one slice, such as this, it can be anything near it.
#
# ## Let it choose
#
# `method="auto"` takes the method with the best measured PSNR on *other* images, among those that fit the operator and
# are expected to end within the budget. It times one evaluation on your machine to know. It never sees a truth.

# %%
for budget in (2, 60):  # seconds
    try:
        result = invdiff.solve(y, op, prior, "auto", budget=budget, sigma_y=sigma_y, seed=0)
        print(f"budget {budget} s: {result.method}. {result.status}\n")
    except ValueError as nothing_ends_in_time:
        print(f"budget {budget} s: {nothing_ends_in_time}\n")

# %% [markdown]
# ## Side by side

# %%
from invdiff.plotting import Panel, compare

names = ("cg", "tv", "dc-pnp", "dds", "sitcom", "daps")
panels = [
    Panel("daps, mean of 4" if n == "daps" else n, magnitude(results[n].x), f"chi2 {results[n].chi2[0]:.2f}")
    for n in names
]
compare(truth, panels, op.sampled[0, 0].expand(96, 80).numpy(), "the same data, six methods")

# %% [markdown]
# **What to look at.** `cg` keeps the folding that the missing lines leave. The others are hard to tell apart by eye,
# and most of their error is at the same places: fine detail that was not measured.
#
# ## What each is for
#
# | you want | take |
# |---|---|
# | a first look, or no prior that fits your images | `tv`, `wavelet` |
# | one good image, soon | `dc-pnp`, or `"auto"` with a budget |
# | one good image, with the data fitted as they are | `dds` |
# | to stop at the noise level, also behind operators that are not linear | `sitcom` |
# | how sure it is, at every pixel | `daps`, `pnp-dm` or `pigdm`, with `num_samples` of 4 or more |
#
# ## Limits
#
# - One slice, one mask, one noise level, and settings as they come. The README has the table by operator.
# - Seconds are those of the machine that ran this page, and of whatever else it was doing.
# - `"auto"` knows what was measured: for operators and priors that nobody measured it asks you to name a method.
#
# ## Next
#
# - What `sitcom` does inside: tutorial 5. Methods without training data: tutorial 6.
# - Change the noise to 0.1, or the acceleration to 8, and see which methods change places.
