"""max |value| < infinity: measurements and images with NaN or infinity are refused where they are read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError


def refuse_nonfinite(values: NDArray[np.generic], path: Path, dataset: str | None, i: int | None) -> None:
    """Refuse one slice that holds NaN or infinity.

    Raises:
        DataError: says how many, and where the first is.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(n) for n in np.argwhere(bad)[0])
        mend = ", or open it with repair=True (--repair on the command line), which takes such points as not sampled"
        raise DataError(
            f"{int(bad.sum())} of {bad.size} values are NaN, infinite or beyond float32, the first at {first}; "
            f"leave out the slice{mend if dataset == 'kspace' else ', or mend it'}.",
            path=path,
            dataset=dataset,
            slice=i,
        )


def nonfinite_points(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Points where any coil of (coils, h, w) is NaN or infinite, (h, w)."""
    return np.asarray(~np.isfinite(values).all(0))
