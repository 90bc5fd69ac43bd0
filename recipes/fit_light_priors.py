"""Fit the packaged light priors, `brain-mri-light` and `ct-light`: patch mixtures, a minute each on one core.

    python recipes/fit_light_priors.py --brain brain.h5 --ct ct.h5 --out data/weights

Both files hold train/images and val/images, (N, H, W): magnitudes, and Hounsfield units with train/subject. The printed
tables are of the held-out images, as in the cards.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from invdiff.fit_prior import card
from invdiff.training.closed_form import Fit, fit_prior, validate
from invdiff.training.config import Data
from invdiff.training.slices import Slices
from invdiff.training.split import open_split

MEMORY = 2 * 2**30  # bytes for slices
LIMITS = "A model of 8 x 8 pixel patches: it knows edges and texture, no anatomy. {} Not for diagnosis."


@dataclass(frozen=True)
class Light:
    """A prior to fit: how, and what its card says."""

    fit: Fit
    domain: str
    data: str
    licence: str
    limits: str


BRAIN = Light(
    Fit(Data(channels="complex")),
    "contrast-enhanced T1-weighted brain MRI, axial, coronal and sagittal slices, about 1.8 mm, complex; patches",
    "Cheng (2017), brain tumor dataset, figshare, doi 10.6084/m9.figshare.1512427: slices of 233 patients",
    "CC BY 4.0",
    LIMITS.format(
        "One contrast, tumour patients, JPEG-coded sources averaged to about 1.8 mm; phase taken as unknown."
    ),
)
CT = Light(
    Fit(Data(scaling="window", channels="real", balance=0.5), sizes=(128, 256)),
    "CT of chest, abdomen and head, pixels of about 1.5 and 3 mm, linear attenuation at 70 keV; patches",
    "TCIA LIDC-IDRI (10.7937/K9/TCIA.2015.LO9QL9SX), Lung-PET-CT-Dx (10.7937/TCIA.2020.NNC2-0461), TCGA-LUAD "
    "(10.7937/K9/TCIA.2016.JGNIHEP5), TCGA-LUSC (10.7937/K9/TCIA.2016.TYGKKFMQ), COVID-19-NY-SBU "
    "(10.7937/TCIA.BBAG-2923), and a GE head series of github.com/neurolabusc/dcm_qa_ct; in HU / 1000, averaged to 128 "
    "and 256 pixels, slices drawn with the inverse square root of their subject's number of slices",
    "CC BY 3.0, CC BY 4.0, BSD-2-Clause",
    LIMITS.format("45 subjects, more than half of the slices of one of them."),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brain", type=Path, help="HDF5 file of magnitudes")
    parser.add_argument("--ct", type=Path, help="HDF5 file of Hounsfield units")
    parser.add_argument("--out", type=Path, default=Path("data/weights"), help="folder (default data/weights)")
    options = parser.parse_args()
    if not (options.brain or options.ct):
        parser.error("give --brain, --ct or both.")
    for path, light, name in ((options.brain, BRAIN, "brain-mri-light"), (options.ct, CT, "ct-light")):
        if path is not None:
            make(path, light, options.out / f"{name}.safetensors")


def make(path: Path, light: Light, out: Path) -> None:
    """Fit, validate on the held-out images, and write one prior."""
    fit = light.fit.of(path)
    split = open_split(fit.config(fit.sizes[0], fit.is_complex), fit.seed)
    train, held_out = (Slices(part, fit.data, MEMORY, out.stem) for part in (split.train, split.val))
    prior = fit_prior(fit, train, False).describe(domain=light.domain)
    table = validate(fit, prior, held_out, False)
    print(out.stem, "  ".join(f"{sigma}: {value:.2f}" for sigma, value in table.items()))
    split_text = f"{len(train)} training and {len(held_out)} validation slices: {split.how}"
    command = f"python recipes/fit_light_priors.py {'--ct' if out.stem == 'ct-light' else '--brain'} {path.name}"
    texts = {"data": light.data, "split": split_text, "limits": light.limits}
    prior.save(out, {**card(split, light.licence, command, table), **texts})


if __name__ == "__main__":
    main()
