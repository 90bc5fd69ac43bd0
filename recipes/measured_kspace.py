"""Measured scans from file to image with `invdiff reconstruct` alone: one table, one figure.

Each row of the table is one call of the command, which is printed. What the files are: a T1-weighted brain of 7 coils,
undersampled here by 4 and by 8; a brain of 8 coils that was measured with a Poisson-disc pattern; a phantom of 16 coils
with coil maps measured by the body coil; a radial scan of a phantom, all 69 spokes and 23 of them. PSNR is against the
root sum of squares of the fully sampled scan, noise included, where there is one.

chi2 = |A x - y|^2 / (m sigma^2) is about 1 where the image explains the samples to the noise; the command says what a
value outside of 0.5 to 2 means.

    python recipes/measured_kspace.py FOLDER --out measured-kspace.png
"""

import argparse
import contextlib
import io
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from invdiff import cli
from invdiff.plotting import Image, save_figure

CLASSICAL, ALL = ("cg", "tv", "wavelet"), ("cg", "tv", "wavelet", "dds")


@dataclass(frozen=True)
class Case:
    """One scan: its file, the options of the command, the methods, and the dataset of a full reference."""

    title: str
    file: str
    options: str
    methods: tuple[str, ...]
    reference: str = "reconstruction_rss"


CASES = (
    Case("brain, 7 coils, 4x", "brain_t1_7ch.h5", "--acceleration 4", ALL),
    Case("brain, 7 coils, 8x", "brain_t1_7ch.h5", "--acceleration 8", ALL),
    Case("brain, 8 coils, Poisson disc", "brain_8ch_poisson.h5", "", ALL, reference=""),
    Case(
        "phantom, 16 coils, body-coil maps, 4x",
        "phantom_gre_16ch.h5",
        "--acceleration 4 --acs 0.19 --maps body-coil",
        CLASSICAL,
    ),
    Case("radial phantom, 69 spokes", "phantom_radial_16ch.h5", "--whiten --gains", CLASSICAL, reference=""),
    Case(
        "radial phantom, 23 spokes", "phantom_radial_16ch.h5", "--whiten --gains --spokes 23", CLASSICAL, reference=""
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the files")
    parser.add_argument("--out", type=Path, default=Path("measured-kspace.png"), help="the figure")
    parser.add_argument("--only", default="", help="only scans whose title contains this")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="of dds, such as steps=20")
    args = parser.parse_args()
    rows, drawn = [], []
    for case in CASES:
        if args.only in case.title:
            images = {"reference": stored(args.folder / case.file, case.reference)} if case.reference else {}
            for method in case.methods:
                image, facts = reconstructed(args.folder, case, method, args.set if method == "dds" else [])
                images[method] = image
                rows.append(table_row(case, method, facts))
            drawn.append((case.title, images))
    print("\n| scan | sampled | method | chi2 | PSNR, dB | s |\n|---|---|---|---:|---:|---:|", *rows, sep="\n")
    save_figure(figure(drawn), args.out, dpi=60)
    print(f"wrote {args.out}")


def reconstructed(folder: Path, case: Case, method: str, settings: list[str]) -> tuple[Image, dict[str, Any]]:
    """The image that the command writes, and what it records of it."""
    words = [*shlex.split(case.options), "--method", method, *(w for s in settings for w in ("--set", s))]
    print("invdiff reconstruct", case.file, *words, flush=True)
    said = io.StringIO()
    with TemporaryDirectory() as place:
        out = Path(place) / "image.h5"
        with contextlib.redirect_stdout(said):
            status = cli.main(["reconstruct", str(folder / case.file), *words, "--out", str(out)])
        print(
            "".join(f"  {line}\n" for line in said.getvalue().splitlines() if "wrote" not in line), end="", flush=True
        )
        if status:
            raise SystemExit(status)
        with h5py.File(out) as file:
            return file["reconstruction"][0], dict(file.attrs)


def table_row(case: Case, method: str, facts: dict[str, Any]) -> str:
    score = "" if math.isnan(facts["psnr_mean"]) or not case.reference else f"{facts['psnr_mean']:.1f}"
    chi2, seconds = f"{facts['chi2_mean']:.2f}", f"{facts['seconds']:.1f}"
    return f"| {case.title} | {str(facts['sampling']).split(' ')[0]} | `{method}` | {chi2} | {score} | {seconds} |"


def stored(path: Path, name: str) -> Image:
    with h5py.File(path) as file:
        return np.asarray(file[name][0], np.float32)


def figure(rows: list[tuple[str, dict[str, Image]]]) -> Figure:
    """One row per scan, its images on one scale; one column per method."""
    columns = [name for name in ("reference", *ALL) if any(name in images for _, images in rows)]
    drawn = Figure(figsize=(1.9 * len(columns), 2.1 * len(rows)), layout="constrained")
    FigureCanvasAgg(drawn)
    for axes, (title, images) in zip(drawn.subplots(len(rows), len(columns), squeeze=False), rows, strict=True):
        top = float(np.quantile(next(iter(images.values())), 0.995))
        for axis, name in zip(axes, columns, strict=True):
            axis.set(xticks=[], yticks=[], title=name if name in images else "", frame_on=False)
            if name in images:
                axis.imshow(images[name], cmap="gray", vmin=0, vmax=top)
        axes[0].set_ylabel(title.replace(", ", ",\n"), fontsize=8)
    return drawn


if __name__ == "__main__":
    main()
