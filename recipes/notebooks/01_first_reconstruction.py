# %% [markdown]
# # 1. A first reconstruction in five lines
#
# **What you will be able to do:** reconstruct an undersampled MRI scan with a diffusion prior, draw it beside what is
# known to be right, and read every number that comes with the image: the misfit `chi2`, the spread of the samples, the
# cost, the seed.
#
# Everything here is in the package. Nothing is downloaded, and a laptop's CPU is enough.
#
# ## The problem
#
# A scanner does not measure an image `x` but its Fourier transform, line by line. Leave out three lines of four and
# the scan is four times as fast:
#
#     y = M F x + n
#
# `F` is the centred orthonormal Fourier transform, the mask `M` keeps the lines that were measured, and `n` is noise of
# standard deviation `sigma_y` in the real and in the imaginary part of every sample. Many images agree with `y`. The
# prior, a network trained to remove noise from brain images, says which of them look like a brain.

# %% [markdown]
# ## A scan to reconstruct
#
# The packaged slice plays the patient. It gets a smooth phase, since MR images are complex, and is measured with every
# fourth line on average, 12 lines at the centre among them. `simulate` applies the operator and adds the noise.

# %%
import torch

from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import smooth_phase
from invdiff.data.samples import load_sample
from invdiff.operators import CartesianMRI
from invdiff.plotting import Panel, compare, magnitude, plot_mask

image = load_sample("brain").image  # (128, 128), from 0 to 1
x = torch.polar(image, smooth_phase((128, 128), seed=0, strength=0.4))[None, None]  # (batch, channel, row, column)

mask = cartesian_mask(128, acceleration=4, acs=12, seed=0)
y = CartesianMRI(mask, shape=(128, 128)).simulate(x, sigma_y=0.01, seed=0)
print("image", tuple(x.shape), x.dtype, "   k-space", tuple(y.shape), y.dtype)

# %%
plot_mask(mask, (128, 128))

# %% [markdown]
# ## Five lines
#
# The operator says how the scan was made, the prior what images look like, and `solve` joins them. From here on the
# image `x` is not used: `solve` sees the k-space, the operator and the noise level alone.

# %%
import invdiff

op = CartesianMRI(mask, shape=(128, 128))
prior = invdiff.load_prior("brain-mri")
result = invdiff.solve(y, op, prior, method="dds", sigma_y=0.01, num_samples=4, seed=0)
print(result)

# %% [markdown]
# For comparison, the image with zeros for all that was not measured (`adjoint`), and total variation (`tv`), which asks
# for an image with few edges and knows nothing of brains. Both take the same arguments, less the prior.

# %%
zero_filled = invdiff.solve(y, op, method="adjoint", sigma_y=0.01)
tv = invdiff.solve(y, op, method="tv", sigma_y=0.01)

# %%
from invdiff.metrics import psnr

truth = magnitude(x)
panels = [
    Panel(name, magnitude(r.x), f"PSNR {psnr(truth, magnitude(r.x)):.1f} dB")
    for name, r in {"zero-filled": zero_filled, "tv": tv, "dds, mean of 4": result}.items()
]
compare(truth, panels, mask.numpy(), "4x undersampled, one coil")

# %% [markdown]
# **What to look at.** The lower row shows the errors, five times as bright as the images and all on one scale. Missing
# lines of one direction fold the zero-filled image along that direction. What is left in the others sits at fine detail
# that the measured lines do not hold.
#
# PSNR needs the true image, so a real scan has none. It was computed after the fact, and nothing was chosen by it. One
# slice ranks no methods: this one is smooth, which suits `tv`.

# %% [markdown]
# ## What the numbers mean

# %%
numbers = {
    "chi2": f"{result.chi2[0]:.3f}",
    "sigma_y": f"{result.sigma_y[0]:.3g}",
    "evaluations of the prior": result.nfe,
    "seed": result.seed,
    "samples (batch, sample, channel, row, column)": tuple(result.samples.shape),
    "1 in the prior's units is, in those of the image": f"{result.units.scale[0]:.3g}",
    "status": result.status,
}
for name, number in numbers.items():
    print(f"{name:50}{number}")

# %% [markdown]
# - **chi2** is `|A x - y|^2 / (m sigma_y^2)`, where `A = M F` and `m` counts the real values measured. Near 1 the image
#   explains the data to the noise. Far above 1 it does not: wrong operator, wrong noise level, or a method that stopped
#   early. Far below 1 it repeats the measured samples, noise included, which `dds` does at a noise as low as this.
#   `chi2` says nothing about what was *not* measured: the zero-filled image, below, fits the data perfectly, and is
#   wrong.
# - **sigma_y** is the noise per real component, in the units of `y`. Left out, it is estimated from the edges of
#   k-space.
# - **Evaluations** of the network are what costs time: `dds` needs one for each of its 100 steps and each sample.
# - **seed** makes the run repeatable. Sample 2 of 4 is the same image if you ask for eight.
# - **units**: networks know images of a certain brightness. The scale is found from the calibration lines and put back,
#   so an image in other units gives the same result in those units.

# %%
for name, r in {"zero-filled": zero_filled, "tv": tv, "dds, mean of 4": result}.items():
    print(f"{name:16} chi2 {r.chi2[0]:.3f}")

# %% [markdown]
# ## How sure is it?
#
# Four samples start from four different noise images. Where the data decide, they agree; where the prior fills in, they
# differ. `result.std` is their standard deviation at every pixel. It needs no truth, so a real scan has it too. Here we
# can put it beside the true error, on the same scale. (`result.plot(truth=x)` draws both in one line, each on its own
# scale.)

# %%
from invdiff.plotting.figure import new_figure, show

spread, error = magnitude(result.std), magnitude(result.x - x)
top = 0.1  # of both scales; the image has maximum 1

figure = new_figure(7.6, 3.0)
left, middle, right = figure.subplots(1, 3)
show(left, magnitude(result.x), (0, 1), "reconstruction", "mean of 4 samples")
show(middle, spread, (0, top), "spread", "standard deviation of the samples", "magma")
drawn = show(right, error, (0, top), "error", "|reconstruction - truth|", "magma")
figure.colorbar(drawn, ax=[middle, right], shrink=0.8).set_label("in units of the image")
figure

# %%
import numpy as np

head = image.numpy() > 0
rms = {name: (values[head] ** 2).mean() ** 0.5 for name, values in {"error": error, "spread": spread}.items()}
print(f"rms inside the head: error {rms['error']:.3f}, spread {rms['spread']:.3f}")
print(f"the spread is {rms['spread'] / rms['error']:.0%} of the error")
print(f"correlation of the two over the pixels there: {np.corrcoef(spread[head], error[head])[0, 1]:.2f}")

# %% [markdown]
# **What to look at.** The spread is *smaller* than the error, by the share printed above: read that of `dds` as a lower
# bound. There are two reasons. `dds` is closer to an optimiser than to a sampler: what was measured hardly varies. And
# the prior has never seen an echo-planar image like this one, and does not know what it does not know. Nor does a
# pixel's spread say which pixels are wrong, as the correlation shows: 1 would be a perfect pointer, 0 none. The methods
# that do draw from the posterior are `daps`, `pnp-dm` and `pigdm`; the README's section on the exact posterior has the
# measurement.

# %% [markdown]
# ## Limits
#
# - One simulated slice, with the operator and the noise known exactly. Measured coils and noise are the next tutorial.
# - Fine detail that was neither measured nor seen in training can be smoothed away or invented. Nothing here is for
#   diagnosis.
# - `brain-mri` knows contrast-enhanced T1 images of adult heads. Off that domain, compare with `tv`, as above.
#
# ## Next
#
# - Your own scanner file: tutorial 2. CT: tutorial 3.
# - Change `acceleration`, `acs` or `sigma_y` above, and watch `chi2`, spread and error.
# - `print(result.reference)` is the paper to cite; `result.save("result.h5")` keeps image, samples and record together.
