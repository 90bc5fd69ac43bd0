# %% [markdown]
# # 7. Bring or train your own prior
#
# **What you will be able to do:** use any denoiser as a prior, have it checked, fit a prior to images in seconds, train
# a network, stop and resume it, bring a checkpoint of someone else, and be told when a prior does not know your images.
#
# ## What a prior is
#
# A denoiser that is told the noise level, and returns the mean of all clean images that the noisy one may come from:
#
#     D(x; sigma) = E[x0 | x0 + sigma n = x],    n ~ N(0, 1)
#
# Every method here asks for nothing else. Four ways to get one, from quick to slow, all on small images so that the
# page takes less than a minute: a denoiser that exists; one fitted in closed form; a network trained; a checkpoint
# brought. None of those made here is good for more than to show the way.
#
# ## Images
#
# Head phantoms, 32 x 32, values from 0 to 1, each a subject of its own. Some are kept apart: a prior must be judged on
# images that it has not seen.

# %%
import numpy as np
import torch

from invdiff.data.phantom import head_phantom

heads = torch.stack([head_phantom((32, 32), seed) for seed in range(1, 61)])[:, None]  # (image, channel, row, column)
train, held_out = heads[:48], heads[48:]

# %% [markdown]
# ## Any denoiser: `AdaptedPrior`
#
# It takes any function of a batch of images and one noise level for each. The parameterisation says what the function
# returns: the clean image (`Direct`), the noise (`Epsilon`), a velocity or a score. Here: a Gaussian filter whose width
# grows with the noise, which needs no training at all.

# %%
import torch.nn.functional as F
from torch import Tensor

from invdiff.priors import AdaptedPrior, Direct


def gaussian_filter(x: Tensor, sigma: Tensor) -> Tensor:
    """Each image smoothed by a Gaussian of 2.5 sqrt(sigma) pixels."""
    offsets = torch.arange(-6.0, 7.0)
    kernels = torch.exp(-(offsets**2) / (2 * (6.25 * sigma[:, None] + 1e-3)))  # (B, 13)
    kernels = (kernels / kernels.sum(1, keepdim=True))[:, None]
    x = F.pad(x, (6, 6, 6, 6), mode="reflect").transpose(0, 1)  # one group a sample
    x = F.conv2d(x, kernels[..., None], groups=len(sigma))
    return F.conv2d(x, kernels[..., None, :], groups=len(sigma)).transpose(0, 1)


smooth = AdaptedPrior(
    gaussian_filter, Direct(), net_range=(0.0, 1.0), net_channels=1, sigma_min=0.02, sigma_max=20.0, domain="anything"
)

# %% [markdown]
# `check_prior` holds it to the definition: shapes, gradients, no coupling within the batch, and, with clean images,
# what must hold of a posterior mean. It is silent if all is well, and raises a sentence otherwise.

# %%
from invdiff.testing import check_prior


def verdict(prior, **options) -> None:
    """What `check_prior` has to say."""
    try:
        check_prior(prior, held_out, **options)
        print("all is well")
    except AssertionError as fault:
        print(fault)


verdict(smooth)

# %% [markdown]
# A filter takes edges away with the noise. It may well remove noise, and is still no posterior mean: that keeps of `x`
# as much as the images are known to vary.
#
# ## A network, trained on the page
#
# A convolutional network of a few thousand weights. `EDM` is the parameterisation of Karras et al. (2022): it scales
# what goes in and comes out, so that at every noise level the network has a task of about the same size.

# %%
from torch import nn

from invdiff.priors import EDM

torch.manual_seed(0)  # of the weights


class Tiny(nn.Module):
    """An image and one number for the noise level of each, to an image."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers = [m for d in (2, 4, 1) for m in (nn.SiLU(), nn.Conv2d(width, width, 3, padding=d, dilation=d))]
        self.net = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), *layers, nn.SiLU(), nn.Conv2d(width, 1, 1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.net(torch.cat([x, noise[:, None, None, None].expand_as(x)], 1))


net, edm = Tiny(), EDM(sigma_data=0.35)
generator = torch.Generator().manual_seed(0)
adam = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(500):
    x0 = train[torch.randint(len(train), (8,), generator=generator)]
    sigma = torch.exp(1.5 * torch.randn(8, generator=generator) - 1.0).clamp(0.02, 20.0)  # one for each image
    s = sigma[:, None, None, None]
    error = edm.denoise(net, x0 + s * torch.randn(x0.shape, generator=generator), sigma) - x0
    loss = (error.square() * (1 + 0.35**2 / s**2)).mean()
    adam.zero_grad()
    loss.backward()
    adam.step()

tiny = AdaptedPrior(
    net, edm, net_range=(0.0, 1.0), net_channels=1, sigma_min=0.02, sigma_max=20.0, domain="head phantoms"
)
verdict(tiny)

# %% [markdown]
# ## Closed form: `invdiff fit-prior`
#
# A mixture of Gaussians over patches of 8 x 8 pixels, fitted by expectation maximisation. It needs images and seconds,
# no GPU and no settings. The command reads HDF5, npy, npz, PNG, DICOM and NIfTI. In a terminal, what is after the `$`.

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


for part, images in {"train": train, "val": held_out}.items():
    np.save(f"{part}.npy", images[:, 0].numpy())

small = "--size 32 --components 8 --patches 4000"
invdiff_command(f"fit-prior train.npy --val val.npy {small} --out patches.safetensors")

# %% [markdown]
# Beside the file lies its card: data, licence, command, validation and limits. `load_prior` takes the path. A prior of
# patches judges each patch by itself: at the largest noise level it comes to a grey, and not to the mean image, as one
# that sees the whole would. The check asks no more of it.

# %%
import json
from pathlib import Path

import invdiff

patches = invdiff.load_prior("patches.safetensors")
verdict(patches)
card = json.loads(Path("patches.json").read_text())["card"]
print("\n".join(f"{name:18}{value}" for name, value in card.items() if value))

# %% [markdown]
# ## Train: `invdiff train`
#
# A training is described by a TOML file; what is left out has its default. This one makes a network of a few thousand
# weights. `recipes/train/` has those that made the packaged priors.

# %%
Path("tiny.toml").write_text("""
name = "tiny"
domain = "head phantoms, 32 x 32"

[network]
architecture = "drunet"
widths = [8, 16]
blocks = 1

[data]
channels = "real"

[batch]
images = 4
size = 32
crop = 16

[augment]
scale = [0.9, 1.0]      # pixels of the training grid per stored pixel
crop_scale = [0.9, 1.0]
phase = false           # real images have none

[optimizer]
lr = 3e-3
warmup = 5

[averages]
every = 8

[validation]
images = 8
sigmas = [0.1, 0.4, 1.2]
fit = 50                # images for the closed-form priors it is compared with; 0 for none
components = 8
patches = 4000
""")

invdiff_command("train tiny.toml --data train.npy --val val.npy --steps 40")

# %% [markdown]
# The report sets the network beside priors in closed form, which were fitted to the same images. A network of 40 steps
# has no chance, and it is good to know. The state is in `tiny.pt`: the same command with more steps goes on from there.
# So it does after Ctrl-C, a power cut or `--max-time`. `--out` writes the prior.

# %%
invdiff_command("train tiny.toml --data train.npy --val val.npy --steps 120 --out tiny.safetensors")

# %%
trained = invdiff.load_prior("tiny.safetensors")
invdiff_command("inspect tiny.safetensors")

# %% [markdown]
# ## Bring a checkpoint
#
# `load_prior` opens guided-diffusion, EDM and NCSN++ files and diffusers folders, and runs no code from them. As
# nothing is downloaded here, this cell writes such a file itself: a guided-diffusion network with random weights. It is
# a file like one that you were given: the numbers are there, what they mean is not.

# %%
from invdiff.networks.guided_unet import GuidedUNet

random_net = GuidedUNet(1, 1, base=32, widths=(32, 64), blocks=1, attention=(1,), head_width=32)
torch.save(random_net.state_dict(), "someone.pt")

invdiff_command("inspect someone.pt --set head_width=32")

# %% [markdown]
# `inspect` says what was found, what was assumed (`predicts`, `sees`), and what may be set if that is wrong. Only you
# know what the network was trained on. `convert` keeps what you set, in a file of ours.

# %%
invdiff_command("convert someone.pt mine.safetensors --set head_width=32 --set percentile=99.5")
mine = invdiff.load_prior("mine.safetensors")
verdict(mine)

# %% [markdown]
# The file opens and runs, and the check refuses it, as it must: random weights do not denoise. The same refusal on a
# *trained* network means that it was told the wrong range, noise level or parameterisation.
#
# ## Which is better?
#
# The error of denoising held-out images, by noise level. `1` would be to return the noisy image as it is.

# %%
from invdiff.plotting.figure import COLOURS, MARKERS, new_figure, show

noise = torch.randn(held_out.shape, generator=torch.Generator().manual_seed(1))
sigmas = (0.05, 0.1, 0.2, 0.4, 0.8)
priors = {
    "Gaussian filter": smooth,
    "network of this page": tiny,
    "fit-prior": patches,
    "train, 120 steps": trained,
    "random weights": mine,
}

figure = new_figure(8.4, 3.8)
axis = figure.subplots()
for (name, prior), colour, marker in zip(priors.items(), COLOURS, MARKERS, strict=False):
    with torch.no_grad():
        errors = [float((prior(held_out + s * noise, s) - held_out).norm() / (s * noise).norm()) for s in sigmas]
    axis.loglog(sigmas, errors, color=colour, marker=marker, label=name)
axis.axhline(1.0, color="grey", linestyle="--", label="the noisy image itself")
axis.minorticks_off()
axis.set_xticks(sigmas, [f"{s:g}" for s in sigmas])
axis.set_yticks([0.2, 0.3, 0.5, 1.0], ["0.2", "0.3", "0.5", "1"])
axis.set(xlabel="sigma, in units of the image", ylabel="|D - x0| / |x - x0|", title="12 held-out phantoms")
axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
figure

# %% [markdown]
# **What to look at.** Lower is better; above the dashed line a denoiser does harm. The order changes with the noise, so
# a single number for a prior says little. The two trained networks had seconds, and what was fitted in closed form to
# the same images is hard to beat in that time.
#
# ## Does it know these images?
#
# A prior that has met its own kind of images can say so of others. `record` measures, once, how well it
# denoises held-out images of its own (here twelve; a hundred make it steady) and stores that in the file. From then on
# `prior.check(images)` compares.

# %%
from invdiff.priors.record import record

record("patches.safetensors", held_out)
patches = invdiff.load_prior("patches.safetensors")

rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
stripes = 0.5 + 0.5 * torch.sin(0.9 * rows + 0.5 * columns)[None, None]
new_head = head_phantom((32, 32), seed=1000)[None, None]
strangers = {"a new head": new_head, "stripes": stripes, "a head, 20 times as bright": 20 * new_head}

for name, stranger in strangers.items():
    report = patches.check(stranger)
    print(f"{name}: {report.verdicts[0]}\n    {report.sentence}")

# %% [markdown]
# `solve` does this by itself after every reconstruction. What is merely unusual is said in the status; where the prior
# is no clear help, it warns.

# %%
import warnings

from invdiff.operators import Inpainting

op = Inpainting(torch.rand(32, 32, generator=torch.Generator().manual_seed(2)) < 0.5)
sigma_y = 0.02
shown = []
for name, x in list(strangers.items())[:2]:
    y = op.simulate(x, sigma_y, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = invdiff.solve(y, op, patches, "dds", sigma_y=sigma_y, seed=0, scale=1.0, steps=30)
    shown += [(name, x, y, result)]
    print(f"{name}: {[str(w.message)[:90] + ' ...' for w in caught] or 'no warning'}")

# %%
figure = new_figure(6.6, 4.6)
axes = figure.subplots(2, 3)
for row, (name, x, y, result) in zip(axes, shown, strict=True):
    show(row[0], x[0, 0].numpy(), (0, 1), name, "truth")
    show(row[1], y[0, 0].numpy(), (0, 1), "half of the pixels", f"noise {sigma_y}")
    error = float((result.x - x).square().mean().sqrt())
    show(row[2], result.x[0, 0].numpy(), (0, 1), "dds with the fitted prior", f"rms error {error:.3f}")
figure

# %% [markdown]
# **What to look at.** The head is filled in, with some speckle that a prior of patches leaves. Of the stripes the
# direction is found, and between them the prior puts what it knows. The errors under the images need the truth. The
# verdict did not: on a scan it is what you have.
#
# ## Limits
#
# - Phantoms are no patients, 60 are few, and seconds of training are none. The packaged priors took hours on CPU cores.
# - `check_prior` finds what breaks the definition of a denoiser, not what is merely weak.
# - `prior.check` compares with the images that you recorded. It calls foreign what they do not contain.
#
# ## Next
#
# - Your own images: `invdiff fit-prior folder/`, then `invdiff train recipes/train/brain-mri.toml --data folder/`.
# - A prior for another operator or solver: all combinations work, see tutorials 4 and 8.
