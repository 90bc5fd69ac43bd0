# %% [markdown]
# # 3. CT from projections to Hounsfield units: few views, low dose
#
# **What you will be able to do:** turn photon counts into line integrals with their noise, reconstruct them from few
# views or few photons by filtered backprojection, total variation and a diffusion prior, read the result in Hounsfield
# units, show it in the window that a radiologist would use, and check the numbers in known inserts.
#
# ## The problem
#
# A ray that enters with `I0` photons leaves with fewer, by the attenuation `mu` along its way:
#
#     I ~ Poisson(I0 exp(-A mu)),    p = -log(I / I0) ~ A mu,    var p ~ 1 / I
#
# `A` integrates the image along every ray. Hounsfield units put air at -1000 and water at 0:
#
#     HU = 1000 (mu / mu_water - 1)
#
# Fewer views or fewer photons mean less dose, and an image that the data alone do not determine.
#
# ## A phantom with known inserts
#
# A body of soft tissue, 32 cm wide, with lungs, a spine and five inserts of known value. It is drawn at 256 x 256
# pixels and scanned at that resolution, but reconstructed at 128 x 128: no scanner sees pixels.

# %%
import math

import torch
from torch.nn.functional import avg_pool2d

from invdiff.units import hu_to_mu, mu_to_hu

PIXEL = 2.8  # mm, of the reconstruction; the phantom's pixels are half as wide
INSERTS = {  # HU, and centre (x, y) and radius in mm from the middle of the image, y up
    "fat": (-100.0, (-70.0, 50.0), 14.0),
    "water": (0.0, (-35.0, 75.0), 14.0),
    "liver": (60.0, (35.0, 75.0), 14.0),
    "contrast": (250.0, (70.0, 50.0), 14.0),
    "bone": (700.0, (0.0, -70.0), 18.0),
}


def ellipse(x, y, centre, half_axes):
    """Where a pixel is inside, (H, W) bool."""
    return ((x - centre[0]) / half_axes[0]) ** 2 + ((y - centre[1]) / half_axes[1]) ** 2 < 1


def coordinates(size, pixel):
    """x to the right and y up, mm, of the centres of pixels."""
    along = (torch.arange(size) - (size - 1) / 2) * pixel
    return torch.meshgrid(along, -along, indexing="xy")


x_mm, y_mm = coordinates(256, PIXEL / 2)
hu = torch.full((256, 256), -1000.0)
hu[ellipse(x_mm, y_mm, (0, 0), (160, 115))] = 40.0  # soft tissue
for side in (-1, 1):
    hu[ellipse(x_mm, y_mm, (side * 85, -10), (48, 40))] = -800.0  # lungs
for value, centre, radius in INSERTS.values():
    hu[ellipse(x_mm, y_mm, centre, (radius, radius))] = value

mu = hu_to_mu(hu)[None, None]  # mm^-1, (batch, channel, row, column)
truth = mu_to_hu(avg_pool2d(mu, 2))  # what a perfect reconstruction at 128 x 128 would be, HU
print(f"attenuation from {mu.min():.4f} to {mu.max():.4f} per mm; water {hu_to_mu(0.0):.4f}")

# %%
from invdiff.plotting import plot_image

plot_image(truth, unit="HU", window=(-160, 240), spacing=PIXEL, title="phantom, soft-tissue window")

# %% [markdown]
# ## Two scans
#
# Parallel beams over half a turn. *Sparse* has 20 views with plenty of photons. *Low dose* has 60 views with 5000
# photons to a ray. `Transmission` is Beer and Lambert's law around the projector, and its `simulate` draws Poisson
# counts.

# %%
from invdiff.operators import ParallelBeamCT, Transmission

BINS, WIDTH = 182, PIXEL  # of the detector, mm
SCANS = {"sparse": (20, 1e6), "low dose": (60, 5e3)}  # views, photons of a ray without the patient


def angles(views):
    return torch.arange(views, dtype=torch.float64) * math.pi / views


counts = {}
for name, (views, photons) in SCANS.items():
    scanner = ParallelBeamCT(angles(views), (256, 256), BINS, pixel=PIXEL / 2, bin_width=WIDTH)
    counts[name] = Transmission(scanner, photons).simulate(mu, seed=0)
    print(f"{name:9} {views} views, counts from {int(counts[name].min())} to {int(counts[name].max())}")

# %% [markdown]
# ## From counts to line integrals
#
# The logarithm turns counts into line integrals and gives each ray a variance of its own: the rays through the longest
# way, where few photons arrive, are the least certain. A standard deviation for every ray goes into `solve` as
# `sigma_y`, and each ray is then weighed by it.
#
# There is a second error: the reconstruction has coarser pixels than the patient. Its size, rms over rays of the
# noiseless scan, is measured here on this phantom, and would come from a calibration object on a scanner. Both errors
# add as variances.

# %%
from invdiff.data.line_integrals import line_integrals

operators, integrals, sigmas = {}, {}, {}
for name, (views, photons) in SCANS.items():
    op = operators[name] = ParallelBeamCT(angles(views), (128, 128), BINS, pixel=PIXEL, bin_width=WIDTH)
    p, variance = line_integrals(counts[name], photons)
    scanner = ParallelBeamCT(angles(views), (256, 256), BINS, pixel=PIXEL / 2, bin_width=WIDTH)
    model = (scanner(mu) - op(avg_pool2d(mu, 2))).square().mean().sqrt()
    integrals[name], sigmas[name] = p, (variance + model**2).sqrt()
    noise = variance.sqrt()
    print(f"{name:9} photon noise of a ray {noise.min():.4f} to {noise.max():.4f}, model error {model:.4f}")

# %%
from invdiff.plotting import plot_sinogram

plot_sinogram(integrals["low dose"], angles(60), bin_width=WIDTH, title="low dose, line integrals")

# %% [markdown]
# **What to look at.** Each point of the body draws a sinusoid. Air at the sides must be 0: a constant there is a wrong
# `I0`. Grain in the bright middle is where photons are few.
#
# ## Reconstruct
#
# `fbp` is the classical method. `tv` asks for few edges, `dc-pnp` alternates the data with the `ct` prior, which was
# trained on chest, abdomen and head. All images are attenuation in mm^-1 inside, and become HU at the end.

# %%
import invdiff

prior = invdiff.load_prior("ct")
results = {}
for name in SCANS:
    common = {"sigma_y": sigmas[name], "seed": 0}
    results[name] = {
        "fbp": invdiff.solve(integrals[name], operators[name], method="fbp", window="hann", **common),
        "tv": invdiff.solve(integrals[name], operators[name], method="tv", **common),
        "dc-pnp": invdiff.solve(integrals[name], operators[name], prior, method="dc-pnp", **common),
    }
    for method, result in results[name].items():
        print(f"{name:9} {method:7} chi2 {result.chi2[0]:8.2f}, {result.nfe:3} evaluations, {result.status}")

# %% [markdown]
# `chi2` near 1 or below means that the measured rays are explained. `fbp` does not try to explain them: between few
# views it draws streaks that no ray supports.

# %%
from invdiff.plotting.figure import new_figure, show

SOFT = (-160.0, 240.0)  # HU: level 40, width 400

figure = new_figure(9.2, 5.0)
axes = figure.subplots(2, 4)
for row, name in zip(axes, SCANS, strict=True):
    views, photons = SCANS[name]
    show(row[0], truth[0, 0].numpy(), SOFT, f"phantom ({name})", f"{views} views, {photons:,.0f} photons")
    for axis, (method, result) in zip(row[1:], results[name].items(), strict=True):
        drawn = show(axis, mu_to_hu(result.x)[0, 0].numpy(), SOFT, method, f"chi2 {result.chi2[0]:.2f}")
figure.colorbar(drawn, ax=list(axes.flat), shrink=0.8).set_label("HU, soft-tissue window")
figure

# %% [markdown]
# **What to look at.** Twenty views with many photons are enough for `tv` and `dc-pnp`, up to the faint inserts at the
# top. The low dose is not enough for either, since some rays get a handful of photons. Both lose the faint inserts, and
# `dc-pnp` puts a structure in front of the spine that *does not exist*, as sharp as the real ones. Its `chi2` is that
# of `tv`, and its status, which would name an image unlike those that the prior knows, is silent. A plausible image is
# not a measured one.
#
# ## Are the numbers right?
#
# A CT image is a measurement. The mean over an insert, two pixels away from its edge, is compared with its true value;
# the standard deviation there says how grainy it is.

# %%
x_mm, y_mm = coordinates(128, PIXEL)

for name in SCANS:
    print(f"{name}: mean - true (standard deviation), HU")
    print(f"  {'insert':10}{'true':>6}" + "".join(f"{method:>16}" for method in results[name]))
    for insert, (value, centre, radius) in INSERTS.items():
        core = ellipse(x_mm, y_mm, centre, (radius - 2 * PIXEL, radius - 2 * PIXEL))
        line = f"  {insert:10}{value:6.0f}"
        for result in results[name].values():
            inside = mu_to_hu(result.x)[0, 0][core]
            line += f"{inside.mean() - value:+8.0f} ({inside.std():4.0f})"
        print(line)

# %% [markdown]
# **What to read.** The mean of `fbp` scatters about the true values; its grain says by how much. At low dose `tv` pulls
# all inserts but the bone towards what surrounds them, by more than its grain: a bias. A standard deviation near zero
# is therefore no proof of accuracy. A smooth image has little grain whether it is right or not.
#
# ## A profile through two inserts

# %%
row = int((y_mm[:, 0] - 50).abs().argmin())  # through fat and contrast
colours = {"fbp": "#E69F00", "tv": "#0072B2", "dc-pnp": "#D55E00"}  # told apart by any colour vision

figure = new_figure(7.6, 3.2)
axis = figure.subplots()
axis.plot(x_mm[row], truth[0, 0, row], color="black", linewidth=2, label="phantom")
for method, result in results["low dose"].items():
    axis.plot(x_mm[row], mu_to_hu(result.x)[0, 0, row], color=colours[method], linewidth=1, label=method)
axis.set(xlabel="x, mm", ylabel="HU", title=f"low dose, y = {y_mm[row, 0]:.0f} mm: fat and contrast")
axis.set(xlim=(-165, 165), ylim=(-400, 500))
axis.legend(fontsize=8, ncols=4, loc="lower center")
figure

# %% [markdown]
# ## The same image in another window
#
# The values span 1700 HU and a screen shows some 256 greys. The lung window shows what the soft-tissue window cuts off,
# here faint spots in the lungs that the phantom does not have.

# %%
plot_image(
    mu_to_hu(results["low dose"]["dc-pnp"].x),
    unit="HU",
    window=(-1350, 150),
    spacing=PIXEL,
    title="low dose, dc-pnp, lung window",
)

# %% [markdown]
# ## Limits
#
# - Parallel beams, one energy, no scatter, no movement. `FanBeamCT` and `ConeBeamCT` are the other geometries;
#   `invdiff.data.line_integrals` has the correction of beam hardening.
# - The phantom is a drawing. Its edges suit total variation, and the prior was trained on patients. The ranking of
#   methods here says nothing about patients; measured tables are in the results of the recipes.
# - Nothing here is for diagnosis.
#
# ## Next
#
# - Your own projections: `invdiff reconstruct projections.h5 --method fbp --plane axial --out slices/` reads HDF5, npz,
#   DICOM-CT-PD, TIFF stacks and more, and writes HU.
# - More photons or views: change `SCANS`, and watch the structure in front of the spine go.
# - All methods on the same data: tutorial 4.
