"""The methods by name. To add one: its file, and its line here."""

from invdiff.operators.projector import lacks_geometry
from invdiff.solvers import (
    adjoint,
    aseq_dip,
    cg,
    daps,
    dc_pnp,
    dcdp,
    ddnm,
    ddrm,
    dds,
    deep_decoder,
    diffpir,
    dip,
    dps,
    fbp,
    hio,
    pigdm,
    pnp_dm,
    red_diff,
    self_guided_dip,
    sirt,
    sitcom,
    sparse_dip,
    tv,
    udig_dip,
    wavelet,
)
from invdiff.solvers.method import Callback, Method
from invdiff.solvers.untrained import not_planar

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
    "pigdm": Method(
        pigdm.pigdm,
        "pseudoinverse-guided diffusion: gradient guidance by a Gaussian likelihood",
        linear=True,
        sampler=True,
        gradient=True,
        reference=pigdm.REFERENCE,
    ),
    "ddnm": Method(
        ddnm.ddnm,
        "denoising diffusion null-space model (DDNM+): the data's range from the data, as far as their noise allows",
        linear=True,
        sampler=True,
        reference=ddnm.REFERENCE,
    ),
    "ddrm": Method(
        ddrm.ddrm,
        "denoising diffusion restoration: draws in the operator's singular vectors",
        linear=True,
        sampler=True,
        fits=ddrm.unknown_spectrum,
        reference=ddrm.REFERENCE,
    ),
    "diffpir": Method(
        diffpir.diffpir,
        "plug-and-play restoration: a proximal data step at every level",
        linear=True,
        reference=diffpir.REFERENCE,
    ),
    "red-diff": Method(
        red_diff.red_diff,
        "regularisation by denoising: Adam on the image, one noise level a step",
        reference=red_diff.REFERENCE,
    ),
    "daps": Method(
        daps.daps,
        "decoupled annealing: draws around the estimate and the data at every level",
        sampler=True,
        reference=daps.REFERENCE,
    ),
    "pnp-dm": Method(
        pnp_dm.pnp_dm,
        "split Gibbs: draws from the data and from the prior in turns",
        sampler=True,
        reference=pnp_dm.REFERENCE,
    ),
    "dcdp": Method(
        dcdp.dcdp, "data steps and diffusion purification in turns, at falling noise", reference=dcdp.REFERENCE
    ),
    "dc-pnp": Method(
        dc_pnp.dc_pnp,
        "ADMM with a dual variable whose noise is made white for the denoiser",
        linear=True,
        reference=dc_pnp.REFERENCE,
    ),
    "adjoint": Method(
        adjoint.adjoint, "A^H y, scaled to fit the data", prior=False, linear=True, reference=adjoint.REFERENCE
    ),
    "cg": Method(
        cg.cg, "least squares by conjugate gradients (CG-SENSE)", prior=False, linear=True, reference=cg.REFERENCE
    ),
    "wavelet": Method(
        wavelet.wavelet,
        "l1 of wavelet coefficients",
        prior=False,
        linear=True,
        fits=wavelet.not_planar,
        reference=wavelet.REFERENCE,
    ),
    "udig-dip": Method(
        udig_dip.udig_dip,
        "network fitted to the scan, guided by the diffusion prior",
        fits=not_planar,
        reference=udig_dip.REFERENCE,
    ),
    "aseq-dip": Method(
        aseq_dip.aseq_dip,
        "network fitted to the scan from its own last output",
        prior=False,
        fits=not_planar,
        reference=aseq_dip.REFERENCE,
    ),
    "self-guided-dip": Method(
        self_guided_dip.self_guided_dip,
        "network fitted to the scan together with its input",
        prior=False,
        fits=not_planar,
        reference=self_guided_dip.REFERENCE,
    ),
    "sparse-dip": Method(
        sparse_dip.sparse_dip,
        "the few parameters of a random network that make the image, fitted to the scan",
        prior=False,
        fits=not_planar,
        reference=sparse_dip.REFERENCE,
    ),
    "dip": Method(
        dip.dip, "deep image prior: network fitted to the scan", prior=False, fits=not_planar, reference=dip.REFERENCE
    ),
    "deep-decoder": Method(
        deep_decoder.deep_decoder,
        "small network without convolutions over space, fitted to the scan",
        prior=False,
        fits=not_planar,
        reference=deep_decoder.REFERENCE,
    ),
    "fbp": Method(
        fbp.fbp,
        "filtered backprojection of CT",
        prior=False,
        linear=True,
        fits=lacks_geometry,
        reference=fbp.REFERENCE,
    ),
    "sirt": Method(
        sirt.sirt,
        "simultaneous iterative reconstruction of CT, ordered subsets",
        prior=False,
        linear=True,
        fits=lacks_geometry,
        reference=sirt.REFERENCE,
    ),
    "hio": Method(
        hio.hio,
        "hybrid input-output: phase retrieval from coarse to fine",
        prior=False,
        fits=hio.not_amplitudes,
        reference=hio.REFERENCE,
    ),
    "tv": Method(tv.tv, "total variation", prior=False, linear=True, reference=tv.REFERENCE),
}

__all__ = ["METHODS", "Callback", "Method"]
