"""What a training looks like: held-out images denoised at each noise level, and images drawn from the prior."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from invdiff.plotting import Image, Panel, gallery, magnitude, save_figure
from invdiff.priors.prior import Prior
from invdiff.sampling import sample
from invdiff.training.validate import Held, psnr

SAMPLES, STEPS = 8, 18


@torch.no_grad()
def denoising_strip(path: Path, held: Held, prior: Prior, sigmas: Sequence[float]) -> None:
    """One held-out image: with noise of each level above, denoised below, itself at the left."""
    middle = len(held.images) // 2
    x0, noise = held.images[middle : middle + 1], held.noise[middle : middle + 1]
    above, below = [Panel("held out", _shown(x0, prior))], [Panel("", _shown(x0, prior))]
    for sigma in sigmas:
        x = x0 + sigma * noise
        out = prior(x, sigma)
        above.append(Panel(f"sigma {sigma:g}", _shown(x, prior)))
        below.append(Panel("", _shown(out, prior), f"{float(psnr(out, x0)):.1f} dB"))
    save_figure(gallery([*above, *below], len(above)), path)


def sample_grid(path: Path, prior: Prior, size: int, device: torch.device) -> None:
    """Images drawn from the prior, from fixed seeds."""
    drawn = sample(prior, SAMPLES, (1, size, size), steps=STEPS, seed=0, device=device, progress=False)
    save_figure(gallery([Panel("", _shown(x, prior)) for x in drawn], 4), path)


def _shown(x: Tensor, prior: Prior) -> Image:
    """Magnitudes; of images with a window, what lies above its lower end, up to the upper one."""
    low, high = prior.range
    return magnitude((x - low).clamp(0, high - low) if prior.window is not None else x)
