"""The options of `invdiff reconstruct`; which kinds of files take which is in `invdiff.scans`."""

import argparse
from pathlib import Path

from invdiff.data.geometry import PLANES
from invdiff.data.outputs import WRITERS
from invdiff.data.undersampling import KINDS as PATTERNS
from invdiff.prepare_coils import MAPS
from invdiff.scans import KINDS
from invdiff.selection import WAYS
from invdiff.settings import positive, whole

EPILOG = """examples:
  invdiff reconstruct scan.h5 --acceleration 4 --method dds
  invdiff reconstruct undersampled.h5 --method dds --set steps=50 --samples 4 --out result.h5
  invdiff reconstruct scan.h5 --mask mask.npy --method tv --out slices.nii.gz --plane axial --spacing 1 1 5
  invdiff reconstruct kspace.cfl --whiten --coils 8 --method cg --out sense.cfl
  invdiff reconstruct radial.h5 --gains --spokes 23 --method tv
  invdiff reconstruct projections.h5 --method fbp --plane axial --out slices/
"""


def make_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    """The parser of the command."""
    endings = " ".join(e for e in WRITERS if e)
    formats = {name: summary for kind in KINDS.values() for name, summary in kind.summary.items()}
    width = max(map(len, formats))
    listed = "\n".join(f"  {name:{width}} {summary}" for name, summary in formats.items())
    parser = commands.add_parser(
        "reconstruct",
        parents=[common],
        help="reconstruct a file of measurements",
        description=f"Input:\n{listed}\n\nOutput, by the ending of --out: {endings}, or a folder of DICOM files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="measurements, told by name and content")
    parser.add_argument("--format", choices=formats, help="what the file is, where name and content do not tell")
    parser.add_argument("--method", default="sitcom", help="see `invdiff methods`, or auto (default sitcom)")
    parser.add_argument("--prior", help="packaged name or path of a .safetensors (default: that of the kind of scan)")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the method")
    parser.add_argument(
        "--untuned", action="store_true", help="the method's own defaults in the place of the measured settings"
    )
    parser.add_argument("--sigma", type=float, help="noise, in units of the measurement (default: estimated)")
    parser.add_argument("--samples", type=whole, default=1, help="independent runs per slice (default 1)")
    parser.add_argument(
        "--select", choices=WAYS, default="mean", help="what of them is written: their mean, or the one of least misfit"
    )
    parser.add_argument("--manifest", type=Path, help="SHA256SUMS that lists the file; refuse it if its bytes changed")
    _add_output(parser)
    _add_kspace(parser)
    _add_projections(parser)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--crop", type=whole, nargs=2, metavar="N", help="rows and columns (default: the file's)")
    group.add_argument("--plane", choices=PLANES, help="orientation, where the file does not tell")
    group.add_argument(
        "--spacing", type=positive, nargs=3, metavar="MM", help="of rows, columns, slices, where the file does not tell"
    )
    group.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _add_kspace(parser: argparse.ArgumentParser) -> None:
    coils = parser.add_argument_group("k-space")
    coils.add_argument("--maps", default="espirit", choices=MAPS, help="coil maps (default espirit)")
    coils.add_argument(
        "--sets", type=whole, default=1, help="sets of ESPIRiT maps; 2 where the object folds (soft-SENSE)"
    )
    coils.add_argument("--map-crop", type=float, default=0.9, help="eigenvalue below which maps are zero (default 0.9)")
    coils.add_argument("--coils", type=whole, help="compress to so many virtual coils")
    coils.add_argument("--whiten", action="store_true", help="decorrelate the coils with the noise of the scan")
    coils.add_argument("--oversampling", type=whole, help="of the read-out, removed (default: as the trajectory tells)")
    lines = parser.add_argument_group("Cartesian k-space")
    lines.add_argument("--acceleration", type=float, help="undersample a fully sampled file by this factor first")
    lines.add_argument("--acs", type=float, default=0.08, help="share of central lines kept (default 0.08)")
    patterns = ", ".join(PATTERNS)
    lines.add_argument("--mask", default="random", help=f"pattern: a mask file, or {patterns} (default random)")
    lines.add_argument("--partial-fourier", action="store_true", help="take the phase from the centre of k-space")
    lines.add_argument("--repair", action="store_true", help="take NaN in k-space as not sampled (default: refuse)")
    lines.add_argument(
        "--open",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the format, such as axes=coils",
    )
    radial = parser.add_argument_group("non-Cartesian k-space")
    radial.add_argument("--size", type=whole, nargs="+", metavar="N", help="of the image, N or H W (default: file's)")
    radial.add_argument("--spokes", type=whole, help="keep so many read-outs, spread evenly")
    radial.add_argument("--gains", action="store_true", help="divide read-outs by their gains, found where they cross")


def _add_projections(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("CT projections")
    group.add_argument("--pixel", type=positive, metavar="MM", help="of the image (default: the file's, or a bin)")
    group.add_argument("--views", type=whole, help="keep so many views, spread evenly")
    group.add_argument("--mu-water", type=positive, metavar="PER_MM", help="for Hounsfield units (default: scanner's)")
    group.add_argument("--weighted", action="store_true", help="weigh every ray by its own noise")
