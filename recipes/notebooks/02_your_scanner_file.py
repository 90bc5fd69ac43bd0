# %% [markdown]
# # 2. Your own scanner file: coils, masks, noise, scale
#
# **What you will be able to do:** take a file of raw k-space from a scanner with several coils, find out what is in it,
# check noise and coil maps by eye, reconstruct it from Python or with one command, write NIfTI or DICOM, and read what
# the library says of a file that is wrong.
#
# ## The problem
#
# Each receive coil `j` sees the image through its own sensitivity `s_j`, and only some lines of k-space are measured:
#
#     y_j = M F (s_j x) + n_j
#
# The file holds `y` and, with luck, the mask `M`. The sensitivities, the noise level and the brightness of the image
# are in no file: they must be found from `y` itself.
#
# ## A file to work with
#
# So that nothing has to be downloaded, this cell plays the scanner: the packaged slice, six coils, 4x undersampling
# with 20 lines at the centre, and the small numbers that scanners store. The layout is that of fastMRI: `kspace` as
# (slice, coil, row, column), complex, DC in the middle, and `mask`. ISMRMRD, BART, Matlab, CMRxRecon, SKM-TEA and plain
# arrays are read by the same calls.

# %%
import h5py
import torch

from invdiff.data.coils import simulate_maps
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import smooth_phase
from invdiff.data.samples import load_sample
from invdiff.operators import CartesianMRI

SIZE, COILS, UNIT, SIGMA = (128, 128), 6, 3e-5, 0.01  # 1 in the image is UNIT in the file

x = torch.polar(load_sample("brain").image, smooth_phase(SIZE, seed=0, strength=0.4))[None, None]
mask = cartesian_mask(128, acceleration=4, acs=20, seed=0)
true_maps = simulate_maps(COILS, SIZE, seed=1)  # (coil, row, column)
kspace = UNIT * CartesianMRI(mask, true_maps[None]).simulate(x, SIGMA, seed=0)

with h5py.File("scan.h5", "w") as file:
    file["kspace"] = kspace.numpy()
    file["mask"] = mask.numpy()

# %% [markdown]
# From here on, `x`, `true_maps` and `SIGMA` are not used, except to say how well they were found.
#
# ## What is in the file?
#
# In a terminal: `invdiff inspect scan.h5`. A small helper does the same here.

# %%
import contextlib
import sys

from invdiff.cli import main


def invdiff_command(line: str) -> None:
    """What `invdiff ...` prints in a terminal, and its exit status: 0 all good, 1 an item failed, 2 wrong usage."""
    print(f"$ invdiff {line}")
    with contextlib.redirect_stderr(sys.stdout):  # so that errors appear in their place
        status = main(line.split())
    print(f"(exit status {status})")


invdiff_command("inspect scan.h5")

# %% [markdown]
# From Python, slices are read one at a time. `sampling` says what was measured; do not guess it from zeros.

# %%
from invdiff.data.kspace import open_kspace
from invdiff.data.masks import acs_lines

scan = open_kspace("scan.h5")
y, sampled = scan.kspace(0), scan.sampling(0)
lines = acs_lines(sampled)
print("slices, coils, rows, columns:", scan.shape)
print(f"sampled: {int(sampled.sum())} of {len(sampled)} lines; calibration lines {lines.start} to {lines.stop - 1}")

# %%
from invdiff.plotting import plot_kspace

plot_kspace(y, title="k-space, all coils together")

# %% [markdown]
# **What to look at.** The bright spot must be at (0, 0). If it sits in a corner, the data are not centred: apply
# `torch.fft.fftshift` before you save them. If there are two, or the edges are as bright as the centre, the axes are
# not what you think. Stripes without values are the lines that were not measured.
#
# ## Noise
#
# Far from the centre there is hardly any signal, so the median of what is there measures the noise, coil by coil.

# %%
from invdiff.data.noise import sigma_from_edges, sigma_per_coil

sigma = sigma_from_edges(y, sampled)
print("per coil, in units of the file:", " ".join(f"{s:.2e}" for s in sigma_per_coil(y, sampled)))
print(f"all coils: {sigma:.2e}; the noise that was added: {UNIT * SIGMA:.2e}")

# %% [markdown]
# One coil far above the others is broken or not connected. The estimate errs to the high side where the image has
# detail up to the edge of k-space. A noise scan is better, and `invdiff reconstruct --whiten` uses it where the file
# has one.
#
# ## Coil maps
#
# ESPIRiT finds the sensitivities from the calibration lines alone. They are smooth, zero where there is no object, and
# their squares sum to one.

# %%
from invdiff.data.coils import espirit
from invdiff.plotting import Panel, gallery, magnitude

maps = espirit(y, sampled)  # (coil, row, column)
gallery(
    [Panel(f"coil {j}", magnitude(m), f"largest {m.abs().max():.2f}") for j, m in enumerate(maps)], 6, "|coil maps|"
)

# %%
inside = (maps.abs().sum(0) > 0) & (x[0, 0].abs() > 0.05)
likeness = (maps.conj() * true_maps).sum(0).abs()[inside]  # 1 where both are the same up to a phase
print(f"likeness to the true maps: median {likeness.median():.4f}, worst 1 % {likeness.quantile(0.01):.4f}")

# %% [markdown]
# **What to look at.** Each coil is bright on its own side and fades without steps. Speckle inside the object means too
# few calibration lines (20 or more are safe) or too much noise. Holes inside the object mean that `crop` is too high.
#
# ## Reconstruct
#
# Mask and maps make the operator; the noise is given, and the brightness is found by `solve`, from the calibration
# lines, since the prior knows images of one brightness only.

# %%
import invdiff

op = CartesianMRI(sampled, maps[None])
prior = invdiff.load_prior("brain-mri")
sense = invdiff.solve(y[None], op, method="cg", sigma_y=sigma)
result = invdiff.solve(y[None], op, prior, method="dds", sigma_y=sigma, seed=0, steps=40)

for r in (sense, result):
    print(r)
print(f"1 in the prior's units is {result.units.scale[0]:.2e} in those of the file")

# %% [markdown]
# With six coils there are more measured values than pixels, so `chi2` is a test. A common mistake is a conjugate: maps
# of another program, or of k-space with the other sign of the transform. It is a brain all the same; `chi2` tells.

# %%
conjugate = invdiff.solve(y[None], CartesianMRI(sampled, maps.conj()[None]), method="cg", sigma_y=sigma)
print(f"chi2 with the conjugate maps: {conjugate.chi2[0]:.0f}")

# %% [markdown]
# Scale changes nothing: the same data in other units give the same image in those units.

# %%
louder = invdiff.solve(1e6 * y[None], op, prior, method="dds", sigma_y=1e6 * sigma, seed=0, steps=40)
change = (louder.x / 1e6 - result.x).norm() / result.x.norm()
print(f"k-space times a million: relative change of the image {change:.1e}")

# %% [markdown]
# ## The same in one command
#
# `invdiff reconstruct` does all of the above for every slice, prints `chi2` beside that of CG-SENSE, and writes the
# output whole or not at all. `--set` passes options of the method.

# %%
invdiff_command("reconstruct scan.h5 --method dds --set steps=40 --out image.h5")

# %%
with h5py.File("image.h5") as file:
    print("reconstruction", file["reconstruction"].shape, file["reconstruction"].dtype)
    for name in ("method", "prior", "sampling", "chi2_mean", "not_for_diagnosis"):
        print(f"{name:18} {file.attrs[name]}")

# %% [markdown]
# ## NIfTI and DICOM
#
# The ending of `--out` chooses the format; `pip install invdiff[io]` brings the libraries. This file does not say how
# the head lay in the scanner nor how large a pixel is. DICOM without them would be a guess of left and right, so it is
# refused until you say.

# %%
from importlib.util import find_spec

if find_spec("pydicom"):
    invdiff_command("reconstruct scan.h5 --method cg --out dicom")
    invdiff_command("reconstruct scan.h5 --method cg --out dicom --plane axial --spacing 2 2 4")
else:
    print("SKIPPED: no pydicom here; pip install invdiff[io]")

# %%
if find_spec("nibabel"):
    import nibabel

    invdiff_command("reconstruct scan.h5 --method cg --out image.nii.gz --plane axial --spacing 2 2 4")
    volume = nibabel.load("image.nii.gz")
    print(
        "NIfTI",
        volume.shape,
        "axes",
        nibabel.aff2axcodes(volume.affine),
        "pixel",
        [float(d) for d in volume.header.get_zooms()],
        "mm",
    )
else:
    print("SKIPPED: no nibabel here; pip install invdiff[io]")

# %% [markdown]
# ## What a wrong file says
#
# Four files as they come: one value is not a number; the mask is not the one of the scan; there is no mask, though
# three of four columns are empty; the axis of the slices is missing, so that six could be slices or coils.


# %%
def write(name, kspace, mask=None):
    with h5py.File(name, "w") as file:
        file["kspace"] = kspace.numpy()
        if mask is not None:
            file["mask"] = mask.numpy()


damaged = kspace.clone()
damaged[0, 2, 10, 64] = float("nan")
write("nan.h5", damaged, mask)
write("other_mask.h5", kspace, mask.roll(1))
write("no_mask.h5", kspace)
write("axes.h5", kspace[0], mask)

for name in ("nan.h5", "other_mask.h5", "no_mask.h5", "axes.h5"):
    invdiff_command(f"reconstruct {name} --method cg")

# %% [markdown]
# Each message says where the fault is and what to do. `--open` passes an option of the file format:

# %%
invdiff_command("reconstruct nan.h5 --method cg --repair")
invdiff_command("reconstruct no_mask.h5 --method cg --open infer_mask=True")
invdiff_command("reconstruct axes.h5 --method cg --open axes=coils")

# %% [markdown]
# ## The images
#
# The truth is known here, since the scanner was simulated. PSNR was computed after the fact; nothing was chosen by it.

# %%
from invdiff.metrics import psnr
from invdiff.plotting import compare

truth = magnitude(x)
images = {"CG-SENSE": sense, "dds": result, "CG-SENSE, conjugate maps": conjugate}
panels = []
for name, r in images.items():
    image = magnitude(r.x) / UNIT
    panels.append(Panel(name, image, f"chi2 {r.chi2[0]:.3g}, PSNR {psnr(truth, image):.1f} dB"))
compare(truth, panels, sampled.numpy(), "six coils, 4x")

# %% [markdown]
# **What to look at.** CG-SENSE amplifies noise where the coils hardly tell pixels apart: the whole head is grainy. With
# the prior the grain is gone, and what is left is detail at edges. Both have the same `chi2`: it is not what tells them
# apart. The image with conjugate maps is dark in the middle, and its `chi2` says why.
#
# ## Limits
#
# - Simulated coils and noise: no movement, no field drift, no unequal noise in the coils (`--whiten`).
# - Scores say how close the image is, not whether a lesion is in it. Nothing here is for diagnosis.
#
# ## Next
#
# - `invdiff reconstruct --help` lists the formats and options, radial and spiral scans among them.
# - CT: tutorial 3. All methods on the same data: tutorial 4.
