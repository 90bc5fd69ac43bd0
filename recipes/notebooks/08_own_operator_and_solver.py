# %% [markdown]
# # 8. Your own operator, your own solver, your own prior, and have them checked
#
# **What you will be able to do:** write the physics of your device as an operator, a method as a function, and bring a
# denoiser as a prior; let the library check each of them; and recognise what the checks say when something is wrong.
#
# ## An operator
#
# A patient moves in the scanner. The columns of k-space are measured one after the other; while column `c` is, the
# image is shifted by `d_c`, so many rows and columns. A shift of the image is a phase in k-space:
#
#     y = P F x,    P[k, c] = exp(-2 pi i (k d_c[0] / H + c d_c[1] / W)),    k and c counted from the centre
#
# `F` is the centred orthonormal Fourier transform. `A = P F` is linear. Its adjoint is `A^H y = F^H conj(P) y`.
#
# An operator is a class with `forward`, and, if it is linear, `_adjoint`: the exact transpose of the code that runs.

# %%
import torch
from torch import Tensor
from torch.fft import fft2, fftshift, ifft2, ifftshift

from invdiff.operators import LinearOperator


def centred_fft(x: Tensor) -> Tensor:
    return fftshift(fft2(ifftshift(x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def centred_ifft(y: Tensor) -> Tensor:
    return fftshift(ifft2(ifftshift(y, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


class MovingMRI(LinearOperator):
    """y = P F x: images (B, 1, H, W) to k-space (B, 1, H, W), each column with the shift of its moment.

    Args:
        shape: (H, W). shifts: (W, 2), in pixels down and to the right, of the image while that column is measured.
    """

    phase: Tensor

    def __init__(self, shape: tuple[int, int], shifts: Tensor) -> None:
        super().__init__((1, *shape), (1, *shape), complex_in=True)
        rows, columns = (torch.arange(n) - n // 2 for n in shape)
        turns = rows[:, None] * shifts[:, 0] / shape[0] + columns * shifts[:, 1] / shape[1]  # (H, W)
        self.register_buffer("phase", torch.exp(-2j * torch.pi * turns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.phase * centred_fft(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return centred_ifft(self.phase.conj() * y)


# %% [markdown]
# `shape_in` and `shape_out` leave out the batch. Tensors are kept as buffers, so that `op.to("cuda")` moves them and
# `op.to(torch.float64)` keeps them complex. The rest (norm, gradients, proximal maps, composition with `@`) follows.
#
# ## Have it checked
#
# `check_operator` draws random images and measurements and holds the operator to what every solver will take for
# granted. The dot test `<A x, y> = <x, A^H y>` is the most important of it.

# %%
from invdiff.testing import check_operator

positions = torch.tensor([[0.0, 0.0], [2.5, -1.0], [-1.5, 3.0], [1.0, 1.5]])  # rows and columns, in pixels
shifts = positions[torch.arange(64) // 16]  # (64, 2): four positions, 16 columns each
op = MovingMRI((64, 64), shifts)

for what, error in check_operator(op).items():
    print(f"{what:10} relative error {error:.1e}")

# %% [markdown]
# ## A wrong adjoint
#
# The commonest fault: a conjugate forgotten. The operator still runs, gradients even look plausible, and every solver
# that uses the adjoint goes the wrong way. The check refuses it, with the number and the reason.


# %%
class WrongAdjoint(MovingMRI):
    def _adjoint(self, y: Tensor) -> Tensor:
        return centred_ifft(self.phase * y)  # no conjugate


try:
    check_operator(WrongAdjoint((64, 64), shifts))
except AssertionError as fault:
    print(fault)

# %% [markdown]
# **What the check cannot see** is whether `A` is the right physics: swap the sign of every shift in `forward` and in
# `_adjoint` and all of it passes. So add an anchor that comes from outside of the code. Here: if everything moves by
# whole pixels, the measurement is the Fourier transform of the rolled image.

# %%
from invdiff.data.phantom import head_phantom, smooth_phase


def complex_head(seed: int) -> Tensor:
    """A phantom with a smooth phase, (1, 64, 64)."""
    return torch.polar(head_phantom((64, 64), seed), smooth_phase((64, 64), seed, strength=0.4))[None]


head = complex_head(0)[None]
down_3_left_2 = MovingMRI((64, 64), torch.tensor([[3.0, -2.0]]).expand(64, 2))
expected = centred_fft(head.roll((3, -2), dims=(-2, -1)))
relative = (down_3_left_2(head) - expected).norm() / expected.norm()
print(f"anchor: relative difference {relative:.1e}")
assert relative < 1e-5

# %% [markdown]
# ## Use it
#
# Every method now takes it, and it composes: here half of the columns are measured, so `Inpainting` of k-space comes
# after the motion. `wavelet` needs no prior. What does it do with motion that is ignored?

# %%
import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.operators import Inpainting

measured = Inpainting(cartesian_mask(64, acceleration=2, acs=16, seed=0).expand(64, 64))
scan = measured @ MovingMRI((64, 64), shifts)
as_if_still = measured @ MovingMRI((64, 64), torch.zeros(64, 2))
check_operator(scan)

sigma_y = 0.01  # per real component
y = scan.simulate(head, sigma_y, seed=0)
ignored = invdiff.solve(y, as_if_still, method="wavelet", sigma_y=sigma_y)
corrected = invdiff.solve(y, scan, method="wavelet", sigma_y=sigma_y)
print(f"chi2: motion ignored {ignored.chi2[0]:.2f}, motion in the operator {corrected.chi2[0]:.2f}")

# %% [markdown]
# Both explain the data to the noise. With one coil, every k-space has an image that fits it, so `chi2` cannot tell a
# wrong operator from a right one here. It can where more is measured than there are unknowns: several coils, or a CT
# scan of many views.
#
# ## A prior
#
# A prior is a denoiser, `D(x; sigma) = E[x0 | x0 + sigma n = x]`. `AdaptedPrior` makes one of any callable; the
# parameterisation says what the callable returns: the clean image (`Direct`), the noise (`Epsilon`), a velocity, a
# score.
#
# Ours is a Wiener filter, whose gain at each frequency comes from the power of example images there:
#
#     D(x; sigma) = F^-1 [S / (S + sigma^2)] F x
#
# It stands in for the network that you have: called with a batch of images and one noise level for each.

# %%
from invdiff.diffusion.precondition import Direct
from invdiff.priors.adapted import AdaptedPrior


class Wiener:
    def __init__(self, images: Tensor) -> None:
        self.power = fft2(images, norm="ortho").abs().square().mean(0)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        gain = self.power / (self.power + sigma[:, None, None, None] ** 2)
        return ifft2(gain * fft2(x, norm="ortho"), norm="ortho").real


heads = torch.stack([complex_head(seed) for seed in range(100, 140)])  # none of them is the head of the scan
train, held_out = heads[:32], heads[32:]

prior = AdaptedPrior(
    Wiener(torch.cat([train.real, train.imag])),
    Direct(),
    channels="complex-split",  # the filter is for real images: it gets the real part, then the imaginary part
    sigma_min=0.01,
    sigma_max=100.0,
)

# %% [markdown]
# `check_prior` tests the interface, and, given clean images, whether it denoises: the error must be orthogonal to what
# was taken away, and least when the prior is told the true noise level. Silence means that all is well.

# %%
from invdiff.testing import check_prior

check_prior(prior, held_out)

# %% [markdown]
# Now the commonest fault of a prior that was trained elsewhere: it wants another measure of the noise. This one was
# meant to be told the standard deviation and is told the variance.

# %%
confused = AdaptedPrior(
    lambda x, sigma: prior.net(x, sigma**2), Direct(), channels="complex-split", sigma_min=0.01, sigma_max=100.0
)
try:
    check_prior(confused, held_out)
except AssertionError as fault:
    print(fault)

# %% [markdown]
# ## A solver
#
# A solver is a function of `y`, `op` and `prior`, its own options, and two things that `solve` gives it: `noise`, a
# random stream for each sample, and `callback`, called after every step (progress, misfit, stopping). `sigma_y` comes
# only if it is asked for. All is in the units of the prior; the image is returned. Ours denoises, fits the data, and
# adds noise again, each time less:
#
#     x_hat = D(x; sigma)
#     x0    = argmin |A x - y|^2 / sigma_y^2 + |x - x_hat|^2 / sigma^2
#     x     = x0 + sigma_next n

# %%
from itertools import pairwise

from invdiff.diffusion.schedule import levels


def denoise_and_fit(y, op, prior, *, noise, callback, sigma_y, steps=30):
    """Denoise, fit the data, add noise again."""
    sigmas = levels("karras", steps, prior.sigma_min, prior.sigma_max)  # decreasing; the last is 0
    x = sigmas[0] * noise.like(op.adjoint(y))
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x_hat = prior(x, sigma)
        x0 = op.prox(x_hat, y, rho=sigma_y**2 / sigma**2)  # argmin |A x - y|^2 + rho |x - x_hat|^2
        x = x0 + sigma_next * noise.like(x0)
        callback(i, steps, x=x, x0=x0, sigma=sigma)
    return x0


result = invdiff.solve(y, scan, prior, denoise_and_fit, sigma_y=sigma_y, num_samples=4, seed=0)
print(result)

# %% [markdown]
# `solve` did the rest: units, several samples, `chi2`, options with their values (`result.options`), refusal of a
# misspelt option. Is it a good solver?
#
# ## Have the solver checked
#
# `check_solver` runs it on small problems whose posterior is known exactly: Gaussian and Gaussian-mixture priors behind
# four operators. It measures how far the mean is off, in posterior standard deviations, whether the samples spread as
# they should, and the promises that every method keeps: the same seed, the same image; the same alone and in a batch.

# %%
from invdiff.testing import check_solver

report = check_solver(denoise_and_fit, quick=True)  # print(report) is the full table, with every test

print(f"{'':22}{'mean off by':>14}{'spread':>10}{'90 % hold':>12}   (exact: 0, 1, 90 %)")
for row in report.rows:
    mean, spread = (max(v.value for v in row.mean.values()), min(v.value for v in row.spread.values()))
    print(f"{row.problem:22}{mean:14.2f}{spread:10.2f}{list(row.coverage.values())[1].value:12.0%}")

# %% [markdown]
# **What to read.** The mean of many samples is near the posterior mean. The spread is well below 1, so the samples
# differ too little: intervals that should hold the truth in 90 % of the cases do so less often. A claim that the mean
# is a good estimate stands; one that this solver samples the posterior is refused:

# %%
for claim in ("estimate", "posterior"):
    reasons = report.failures(claim)
    print(f"{claim}: {'refused' if reasons else 'stands'}")
print("for instance", reasons[0])

# %% [markdown]
# And a fault: noise from the global generator. It looks the same and cannot be repeated.


# %%
def not_repeatable(y, op, prior, *, noise, callback, sigma_y, steps=10):
    """The same, with noise that no seed governs."""
    sigmas = levels("karras", steps, prior.sigma_min, prior.sigma_max)
    x = sigmas[0] * torch.randn_like(op.adjoint(y))
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = op.prox(prior(x, sigma), y, rho=sigma_y**2 / sigma**2)
        x = x0 + sigma_next * torch.randn_like(x0)
        callback(i, steps, x=x, x0=x0, sigma=sigma)
    return x0


try:
    check_solver(not_repeatable, claims="contract", problems=["Gaussian, inpainting"], simulations=8, draws=2)
except AssertionError as fault:
    print(fault)

# %% [markdown]
# ## All three together

# %%
from invdiff.metrics import psnr
from invdiff.plotting import Panel, compare, magnitude

truth = magnitude(head)
images = {
    "motion ignored,\nwavelet": ignored,
    "own operator,\nwavelet": corrected,
    "own operator, solver\nand prior": result,
}
panels = [
    Panel(name, magnitude(r.x), f"chi2 {r.chi2[0]:.2f}, PSNR {psnr(truth, magnitude(r.x)):.1f} dB")
    for name, r in images.items()
]
compare(truth, panels, title="four positions of the head, half of the columns")

# %% [markdown]
# **What to look at.** Ignored motion leaves ghosts and a displaced head, although its `chi2` is in order. With the
# motion in the operator they are gone. A Wiener filter is a weak prior, weaker than wavelets here: it keeps no edge. It
# stands where yours will be.
#
# ## Limits
#
# - The shifts are known here. To find them from the data is another problem.
# - Passing a check is necessary, not sufficient: the physics needs its own anchor, and a solver that is right on images
#   of 8 x 8 pixels can still need more steps on large ones.
#
# ## Next
#
# - To share it: an operator, a solver and a prior are one file and one line each, see CONTRIBUTING.md.
# - `check_solver` without `quick=True` takes longer and sees smaller faults.
# - A network of your own as a prior: tutorial 7.
