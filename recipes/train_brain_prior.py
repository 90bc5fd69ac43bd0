"""Train the packaged `brain-mri` prior, or go on training it, and export it.

    python recipes/train_brain_prior.py slices.h5 --state brain.pt --hours 2 --out data/weights/brain-mri.safetensors

`slices.h5` holds train/images and val/images, (N, H, W) magnitudes. The state file carries everything needed to
resume; a line of JSON with the validation table is added to brain.jsonl at every report.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from invdiff.priors.checkpoints import export
from invdiff.training.train import Config, train

NETWORK = {"widths": [48, 96, 144, 288], "stem": 2}
DOMAIN = "contrast-enhanced T1-weighted brain MRI, axial, coronal and sagittal slices, about 1.8 mm pixels, complex"
DATA = {
    "data": "Cheng (2017), brain tumor dataset, figshare, doi 10.6084/m9.figshare.1512427: slices of 233 patients",
    "data_licence": "CC BY 4.0",
    "split": "2603 training and 178 validation slices, separated by runs of patients and by similarity",
    "phase": "synthetic: magnitude slices times random smooth phase",
    "limits": "One contrast, tumour patients, JPEG-coded sources averaged to about 1.8 mm. Not for diagnosis.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--state", type=Path, default=Path("brain.pt"))
    parser.add_argument("--out", type=Path, default=Path("brain-mri.safetensors"))
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--steps", type=int, help="stop after this many steps in all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--export-only", action="store_true", help="write the prior from the state file as it is")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if not options.export_only:
        seconds = options.hours * 3600
        train(
            options.data, options.state, Config(NETWORK), max_seconds=seconds, max_steps=options.steps, on_report=show
        )
    log = options.state.with_suffix(".jsonl")
    last = json.loads(log.read_text().splitlines()[-1]) if log.exists() else {}
    card = {**DATA, "validation_psnr": last.get("psnr"), "command": "python recipes/train_brain_prior.py"}
    export(options.state, options.out, DOMAIN, 99.5, card)
    print(f"wrote {options.out}")


def show(report: dict[str, Any]) -> None:
    table = "  ".join(f"{sigma}: {value:.2f}" for sigma, value in report["psnr"].items())
    print(f"step {report['step']}  {report['seconds']} s  loss {report['loss']:.3f}  PSNR {table}", flush=True)


if __name__ == "__main__":
    main()
