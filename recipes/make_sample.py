"""image = |volume 0, slice 13| / max: make data/samples/brain.npz from the example volume that nibabel ships.

python recipes/make_sample.py            # needs nibabel
"""

import argparse
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Image

SLICE, SIZE = 13, 128


def upright_slice() -> tuple[np.ndarray, float]:
    """Slice seen from the feet, nose up, (128, 128) float32 with maximum 1, and the pixel size in mm."""
    volume = Nifti1Image.from_filename(Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz")
    if list(np.sign(np.diag(volume.affine)[:3])) != [-1, 1, 1]:
        raise SystemExit("the volume's axes are not (left, anterior, superior); this script would turn it wrongly.")
    image = np.rot90(np.asarray(volume.dataobj)[:, :, SLICE, 0]).astype(np.float32)  # (96, 128)
    missing = SIZE - image.shape[0]
    image = np.pad(image, ((missing // 2, missing - missing // 2), (0, 0)))
    return image / image.max(), float(volume.header["pixdim"][1])


def licence_text() -> str:
    """The MIT part of nibabel's COPYING."""
    from importlib.metadata import files

    copying = next(f for f in files("nibabel") or [] if f.name == "COPYING").read_text()
    lines = copying[copying.index("  The MIT License") : copying.index("3rd party code and data")]
    return "\n".join(line.removeprefix("  ") for line in lines.splitlines()).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "data" / "samples" / "brain.npz")
    args = parser.parse_args()
    image, pixel_mm = upright_slice()
    source = (
        f"nibabel {nibabel.__version__}, nibabel/tests/data/example4d.nii.gz, volume 0, axial slice {SLICE}, turned "
        f"upright, zero-padded to {SIZE} x {SIZE}, divided by its maximum (recipes/make_sample.py)"
    )
    np.savez_compressed(args.out, image=image, pixel_mm=pixel_mm, source=source, licence=licence_text())
    print(f"{args.out}: {image.shape} {image.dtype}, pixel {pixel_mm} mm, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
