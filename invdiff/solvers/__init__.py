"""The methods by name. To add one: its file, and its line here."""

from invdiff.solvers import adjoint, cg, dds, dps, sitcom, tv, wavelet
from invdiff.solvers.method import Callback, Method

METHODS: dict[str, Method] = {
    "sitcom": Method(
        sitcom.sitcom,
        "step-wise triple-consistent sampling: optimises the network input at every level",
        gradient=True,
        reference=sitcom.REFERENCE,
    ),
    "dps": Method(
        dps.dps, "diffusion posterior sampling: gradient guidance", sampler=True, gradient=True, reference=dps.REFERENCE
    ),
    "dds": Method(
        dds.dds,
        "decomposed diffusion sampling: conjugate gradients at every level",
        linear=True,
        reference=dds.REFERENCE,
    ),
    "adjoint": Method(
        adjoint.adjoint, "A^H y, scaled to fit the data", prior=False, linear=True, reference=adjoint.REFERENCE
    ),
    "cg": Method(
        cg.cg, "least squares by conjugate gradients (CG-SENSE)", prior=False, linear=True, reference=cg.REFERENCE
    ),
    "wavelet": Method(
        wavelet.wavelet, "l1 of wavelet coefficients", prior=False, linear=True, reference=wavelet.REFERENCE
    ),
    "tv": Method(tv.tv, "total variation", prior=False, linear=True, reference=tv.REFERENCE),
}

__all__ = ["METHODS", "Callback", "Method"]
