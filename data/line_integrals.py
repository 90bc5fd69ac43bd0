"""p = -log((I - D) / (I0 - D)),   var p = (I - D + s^2) / (I - D)^2: counts to line integrals and their noise.

I are the measured counts, I0 those of the air scan (the flat field), D the dark frames and s the standard deviation of
the electronic noise in counts. Counts below `floor` are taken as `floor`, for the line integral and for its variance,
so that starved rays stay finite and weigh next to nothing; rays of dead bins (no light in the air scan, or a count
that is not finite) get p = 0 and an infinite variance: `solve(p, op, sigma_y=variance.sqrt())` weighs rays by their
noise and leaves these out.

Source: Thibault, Bouman, Sauer and Hsieh, A Recursive Filter for Noise Reduction in Statistical Iterative Tomographic
Imaging, 2006, for the variance; Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, section 4.2.2 for
beam hardening.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from invdiff.checks import require

FLOOR = 0.1  # counts; the rule of the LoDoPaB-CT data set for rays that no photon passed


def line_integrals(
    counts: Tensor, photons: Tensor | float, electronic: float = 0.0, floor: float = FLOOR
) -> tuple[Tensor, Tensor]:
    """Line integrals and their variance, each of the shape of `counts`.

    Args:
        counts: without dark signal, (..., view, bin), real.
        photons: I0 - D, a number or what broadcasts to the counts.
        electronic: standard deviation of the electronic noise, in counts.
        floor: counts below which a ray is taken to have this many.

    Raises:
        ValueError: an option out of range, or no bin with light in the air scan.
    """
    require("electronic", electronic, at_least=0)
    require("floor", floor, above=0)
    photons = torch.as_tensor(photons, dtype=counts.dtype, device=counts.device)
    if not bool((photons > 0).any()):
        raise ValueError("photons must be positive somewhere: the counts of the air scan, dark signal removed.")
    alive = (photons > 0) & photons.isfinite() & counts.isfinite()
    seen = counts.clamp(min=floor)
    p = torch.where(alive, torch.log(photons / seen), 0.0)
    return p, torch.where(alive, (seen + electronic**2) / seen**2, torch.inf)


def unharden(p: Tensor, coefficients: Sequence[float], variance: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """q = c1 p + c2 p^2 + ..., and its variance (dq/dp)^2 var p: the polynomial correction of beam hardening.

    Args:
        p: line integrals. coefficients: c1, c2, ...; there is no constant, so that air stays 0.
        variance: of p, or None.

    Raises:
        ValueError: no coefficients, or a polynomial that falls somewhere between the least and the largest p.
    """
    if not coefficients:
        raise ValueError("the beam-hardening polynomial needs one coefficient or more (1.0 changes nothing).")
    slope = sum(k * c * p ** (k - 1) for k, c in enumerate(coefficients, 1))
    slope = torch.as_tensor(slope, dtype=p.dtype).expand_as(p)
    if bool((slope <= 0).any()):
        worst = float(p[slope <= 0].abs().min())
        raise ValueError(
            f"the beam-hardening polynomial falls at p = {worst:.3g}, so that two thicknesses give one value; fit it "
            "to thicker objects, or use fewer terms."
        )
    q = torch.as_tensor(sum(c * p**k for k, c in enumerate(coefficients, 1)), dtype=p.dtype)
    return q, None if variance is None else slope**2 * variance


def water_polynomial(
    spectrum: Sequence[float], mu: Sequence[float], mu_water: float, depth: float, degree: int = 3
) -> list[float]:
    """Coefficients for `unharden` by which `depth` mm of water give mu_water times their thickness.

    The polychromatic line integral is p(L) = -log sum_e w_e exp(-mu_e L) for the normalised spectrum w.

    Args:
        spectrum: detected share of each energy, 0 or more. mu: attenuation of water at these energies, mm^-1.
        mu_water: of the monochromatic image, mm^-1. depth: the thickest water to fit, mm. degree: of the polynomial.

    Raises:
        ValueError: sizes that disagree, or a value out of range.
    """
    w, m = np.asarray(spectrum, np.float64), np.asarray(mu, np.float64)
    if w.shape != m.shape or w.ndim != 1 or not (w >= 0).all() or not w.sum() > 0:
        raise ValueError(f"spectrum and mu must be equally many numbers, 0 or more, got {w.shape} and {m.shape}.")
    require("depth", depth, above=0)
    require("degree", degree, at_least=1)
    thickness = np.linspace(0, depth, 32 * degree)[1:]
    p = -np.log(np.exp(-np.outer(thickness, m)) @ (w / w.sum()))
    powers = p[:, None] ** np.arange(1, degree + 1)
    fit: list[float] = np.linalg.lstsq(powers / p[:, None], mu_water * thickness / p, rcond=None)[0].tolist()
    return fit


def metal_trace(project: Callable[[Tensor], Tensor], image: Tensor, threshold: float) -> Tensor:
    """Rays that cross metal, bool, of the shape of project(image): where the image exceeds a threshold on their way.

    Give these rays an infinite variance to leave them out.

    Args:
        project: the projector, (B, 1, H, W) to (B, 1, view, bin). image: a first reconstruction.
        threshold: in the unit of the image, between bone and metal (about 3000 HU).
    """
    metal = (image > threshold).to(image.dtype)
    return project(metal) > 0
