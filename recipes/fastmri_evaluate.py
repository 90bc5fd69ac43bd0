"""Score reconstructions as fastMRI does, by acquisition, with figures.

    python recipes/fastmri_evaluate.py out/dds /data/fastmri/multicoil_val --out report/dds

NMSE, PSNR and SSIM per volume (the published evaluation's definitions, to its bits), their means by acquisition with
two standard deviations, as scores.csv and scores.json; scores.png shows every volume, and examples.png the
volumes at the 10th, 50th and 90th percentile of SSIM: reference, reconstruction and error on one scale with the gain
printed. Exit status 1 where a volume could not be scored.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from invdiff.data.reconstructions import read_volume
from invdiff.evaluate import TARGETS, Row, matched, score, table, write_rows
from invdiff.metrics import slice_psnr
from invdiff.plotting import GAIN, save_figure

METRICS = (("nmse", "NMSE"), ("psnr", "PSNR, dB"), ("ssim", "SSIM"))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _arguments(arguments)
    pairs = matched(options.reconstructions, options.references)
    rows, faults = score(pairs, options.target)
    for line in table(rows):
        print(line)
    for fault in faults:
        print(f"NOT SCORED {fault}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("scores.csv", "scores.json"):
        write_rows(options.out / name, rows, faults)
    if rows:
        save_figure(spread(rows), options.out / "scores.png")
        places = {name: (ours, theirs) for name, ours, theirs in pairs}
        save_figure(examples(rows, places, TARGETS[options.target]), options.out / "examples.png")
    print(f"wrote {options.out}")
    return 1 if faults or not rows else 0


def spread(rows: Sequence[Row]) -> Figure:
    """One dot per volume, in columns by acquisition, with the mean."""
    kinds = sorted({row.acquisition for row in rows})
    figure = Figure(figsize=(4.2 * len(METRICS), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (metric, label) in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        for x, kind in enumerate(kinds):
            values = np.array([getattr(row.scores, metric) for row in rows if row.acquisition == kind])
            values = values[np.isfinite(values)]
            axis.plot(x + np.linspace(-0.2, 0.2, len(values)), np.sort(values), ".", color="C0", alpha=0.6)
            if len(values):
                axis.hlines(values.mean(), x - 0.3, x + 0.3, color="C1")
        axis.set_xticks(range(len(kinds)), [kind or "not stated" for kind in kinds], rotation=30, ha="right")
        axis.set_ylabel(label)
    return figure


def examples(rows: Sequence[Row], places: dict[str, tuple[Path, Path]], names: tuple[str, ...]) -> Figure:
    """The slice of median PSNR of three volumes: reference, reconstruction, error."""
    ranked = sorted(rows, key=lambda row: row.scores.ssim)
    chosen = [ranked[round(q * (len(ranked) - 1))] for q in (0.1, 0.5, 0.9)]
    figure = Figure(figsize=(8, 2.8 * len(chosen)), layout="constrained")
    FigureCanvasAgg(figure)
    for line, row in zip(figure.subplots(len(chosen), 3, squeeze=False), chosen, strict=True):
        ours, theirs = places[row.name]
        truth, images = read_volume(theirs, names)[0], read_volume(ours)[0]
        side = truth.shape[-1]
        truth, images = _square(truth, side), _square(images, side)
        i = int(np.argsort(slice_psnr(truth, images))[len(truth) // 2])
        top = float(truth[i].max())
        for axis, image, gain, title in zip(
            line,
            (truth[i], images[i], np.abs(images[i] - truth[i])),
            (1, 1, GAIN),
            (
                f"{row.name}, slice {i}",
                f"SSIM {row.scores.ssim:.4f}, PSNR {row.scores.psnr:.2f} dB",
                f"|error| x {GAIN}",
            ),
            strict=True,
        ):
            axis.imshow(image, cmap="gray", vmin=0, vmax=top / gain)
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    return figure


def _square(volume: np.ndarray, side: int) -> np.ndarray:
    top, left = ((n - side) // 2 for n in volume.shape[-2:])
    return volume[:, top : top + side, left : left + side]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reconstructions", type=Path, help="folder that fastmri_reconstruct.py wrote")
    parser.add_argument("references", type=Path, help="folder of the data set with the same names")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder for tables and figures")
    parser.add_argument(
        "--target", choices=("rss", "esc"), help="reference to take (default: esc of single-coil files)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
