# %% [markdown]
# # 6. No training data: DIP, its kin, and masks
#
# **What you will be able to do:** reconstruct with a network that is fitted to the one scan you have, see which of its
# iterates the stop rule takes and why, add a diffusion prior to it, and learn, save, look at and move a mask that
# leaves a network few parameters.
#
# ## The idea
#
# Take a random convolutional network `g` with a fixed noise input `z`, and fit its parameters to the measurement:
#
#     theta = argmin |A g_theta(z) - y|^2,    x = g_theta(z)
#
# No image was ever seen. Convolutions make images before they make noise, so early iterates are images. Late ones have
# fitted the noise as well, since the network can make that too. *When to stop* is the whole question. (Deep image
# prior, DIP: Ulyanov et al., CVPR 2018.)
#
# All of it is an optimisation for each scan. So that this page takes less than a minute the images are tiny and
# iterations few, a tenth of what is usual. It shows how things work, not how well.

# %% [markdown]
# ## A small scan
#
# The packaged slice, averaged down to 48 x 48, every second line on average, and noise of 0.08.

# %%
import torch
import torch.nn.functional as F

import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import head_phantom, smooth_phase
from invdiff.data.samples import load_sample
from invdiff.operators import CartesianMRI
from invdiff.plotting import magnitude

image = F.avg_pool2d(load_sample("brain").image[None, 16:112, 16:112], 2)[0]  # 48 x 48
x = torch.polar(image, smooth_phase((48, 48), seed=0, strength=0.4))[None, None]

sigma_y = 0.08
op = CartesianMRI(cartesian_mask(48, acceleration=2, acs=12, seed=0), shape=(48, 48))
y = op.simulate(x, sigma_y, seed=0)
truth = magnitude(x)

# %% [markdown]
# ## DIP with a stop rule
#
# The default rule, `stop="held-out"`, sets a twentieth of the measurements apart. The network never sees them: while
# structure comes in it explains them better and better, and worse once it fits the noise of the others. Then it is
# given them too, for a hundred iterations. No truth is needed. `result.x` is the image that was chosen, `result.last`
# the one at the end.

# %%
dip = invdiff.solve(y, op, method="dip", sigma_y=sigma_y, seed=0, iterations=300, lr=0.02)
print(dip)

# %%
from invdiff.plotting import plot_stopping

plot_stopping(dip)

# %% [markdown]
# **What to look at.** Above, the misfit falls from beginning to end and does not say where to stop. Below, the score.
# It is the misfit of what was set apart. Where it rises and then falls steeply, the rule has turned, and the fit has
# all there is; the mark at its least value is the end. Where it never rises, the run was too short for the rule. The
# images are averages over about a hundred iterations, so that hundreds pass before it turns.
#
# There are other rules. `"discrepancy"` ends at the noise level and needs `sigma_y`; `"variance"` ends where the last
# hundred images differ least among themselves; `"held-out+discrepancy"` takes whichever comes first.

# %%
from invdiff.metrics import psnr

noise = sigma_y * op.measured(True).sqrt()


def line(name: str, z: torch.Tensor) -> None:
    """Misfit in units of the noise, and PSNR, which is looked at and chooses nothing."""
    misfit = float((op(z) - y).abs().square().sum().sqrt() / noise)
    print(f"{name:28}|A x - y| / noise {misfit:5.2f}   PSNR {psnr(truth, magnitude(z)):5.1f} dB")


line("dip, chosen", dip.x)
line("dip, last iterate", dip.last[:, 0])

# %% [markdown]
# ## Inputs that learn: aSeqDIP, and uDiG-DIP with a prior
#
# In DIP the input is noise for ever. `aseq-dip` starts from a rough image and makes its own output the next input, with
# a term that asks the network to leave it as it is:
#
#     theta <- steps on |A g_theta(z) - y|^2 + lam |g_theta(z) - z|^2,    then z <- g_theta(z), made to keep to y
#
# `udig-dip` lets a diffusion prior refine the output before it becomes the input. It does need training data: those of
# the prior.

# %%
aseq = invdiff.solve(y, op, method="aseq-dip", sigma_y=sigma_y, seed=0, iterations=300, average=0.05)

prior = invdiff.load_prior("brain-mri")
udig = invdiff.solve(y, op, prior, "udig-dip", sigma_y=sigma_y, seed=0, rounds=2, steps=40)

tv = invdiff.solve(y, op, method="tv", sigma_y=sigma_y)  # for comparison: no network, no training, a second
for name, result in {"dip": dip, "aseq-dip": aseq, "udig-dip": udig, "tv": tv}.items():
    line(name, result.x)
    print(f"{'':28}{result.status}")

# %%
from invdiff.plotting import Panel, compare

rows = {"dip, chosen": dip.x, "dip, last": dip.last[:, 0], "aseq-dip": aseq.x, "udig-dip": udig.x, "tv": tv.x}
panels = [Panel(name, magnitude(z), f"PSNR {psnr(truth, magnitude(z)):.1f} dB") for name, z in rows.items()]
compare(truth, panels, op.sampled[0, 0].expand(48, 48).numpy(), "2x undersampled, noise 0.08")

# %% [markdown]
# **What to look at.** Noise in an image is the network having fitted it; blur is the network not having got there yet.
# With so few iterations the second is likely for the methods without a prior. `tv` is a fair opponent, and often enough
# the better one on images as small as this.
#
# ## Masks: most of the network can go
#
# A network with fewer parameters has less room for noise. *Optimal Eye Surgeon* looks for those worth keeping in the
# **random** network, before any of them is trained:
#
#     min over m of |A g(theta_0 * m; z) - y|^2,    m = 0 or 1, a share s of them 1
#
# `Sparse-DIP` then trains what was kept. `learn_mask` relaxes `m` to probabilities and descends on them. Its default is
# 2000 steps, the paper has 60,000, and here there are 150, on a phantom of 32 x 32.

# %%
from invdiff.solvers.oes import Mask, learn_mask, prune

small = torch.polar(head_phantom((32, 32), seed=0), smooth_phase((32, 32), seed=0, strength=0.4))[None, None]
small_op = CartesianMRI(cartesian_mask(32, acceleration=2, acs=10, seed=0), shape=(32, 32))
small_y = small_op.simulate(small, sigma_y, seed=0)

learned = learn_mask(small_y, small_op, sparsity=0.3, iterations=150, lr=0.1)
print(f"{learned.share:.1%} of {sum(keep.numel() for keep in learned.keep.values()):,} parameters are kept")

# %%
from invdiff.plotting import plot_mask_layers

plot_mask_layers(learned)

# %% [markdown]
# **What to look at.** The share is fixed over all layers together; how it is spread over them is found. Bars beyond the
# dashed line are layers that the search keeps more of. Where the large layers, those of convolutions, all end near the
# line, the search has hardly begun.
#
# ## Save, load, and compare with plain pruning
#
# A mask is a file of bits and a seed: the network itself is drawn from the seed again. `prune` makes masks by older
# rules at the same share, which need a moment: here by chance, and by the size of the weights.

# %%
path = learned.save("mask.safetensors")
loaded = Mask.load(path)
assert all(torch.equal(loaded.keep[name], learned.keep[name]) for name in learned.keep)
print(f"{path}, {path.stat().st_size / 1e3:.0f} kB")

masks = {kind: prune(kind, small_y, small_op, sparsity=0.3) for kind in ("random", "magnitude")}
options = {"sigma_y": sigma_y, "seed": 0, "iterations": 150}
small_truth = magnitude(small)
sparse = {
    name: invdiff.solve(small_y, small_op, method="sparse-dip", mask=mask, **options)
    for name, mask in {"learned": loaded, **masks}.items()
}
for name, result in sparse.items():
    quality = psnr(small_truth, magnitude(result.x))
    print(f"{name:12} chi2 {result.chi2[0]:8.2f}   PSNR {quality:5.1f} dB   {result.status}")

# %% [markdown]
# Same network, same share, same number of steps: the masks differ in nothing else. Read the numbers as they come. One
# scan and 150 steps rank no rule; `recipes/dip_sparse.py` makes the comparison at full length.
#
# ## Move a mask to another image and another size
#
# The mask belongs to a network, and the network is convolutional: it makes images of any size. What was found on the
# phantom of 32 x 32 goes to the brain of 48 x 48, by its file name.

# %%
moved = invdiff.solve(y, op, method="sparse-dip", mask="mask.safetensors", **options)
line("sparse-dip, moved mask", moved.x)

rows = {
    "zero-filled": op.adjoint(y),
    "sparse-dip, mask of\na phantom, 32 x 32": moved.x,
    "dip, all parameters": dip.x,
}
panels = [Panel(name, magnitude(z), f"PSNR {psnr(truth, magnitude(z)):.1f} dB") for name, z in rows.items()]
compare(truth, panels, op.sampled[0, 0].expand(48, 48).numpy(), "a mask that was learned on another image and size")

# %% [markdown]
# **What to look at.** Whether the network that is left makes the image at all. `sparse-dip` had half the iterations of
# `dip` here, and a mask of 150 steps: it is not a contest.
#
# ## Limits
#
# - Every scan is a new fit: minutes to hours on a CPU at real sizes. `checkpoint="fit.safetensors"` keeps one, so that
#   an interrupted fit goes on; `warm=` begins from the fit of a neighbouring slice.
# - The stop rule chooses among the iterates of one run. It cannot make a run good.
# - Masks found in 150 steps on a phantom are for this page only.
#
# ## Next
#
# - `iterations=3000`, the default, and `plot_stopping` again.
# - `recipes/dip_mri.py`, `dip_ct.py` and `dip_sparse.py` run these methods at full length.
# - A prior of your own for `udig-dip`: tutorial 7.
