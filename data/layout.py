"""k-space (slices, coils, h, w) complex: how a stored array maps onto it.

What is unambiguous is converted (any precision, any byte order, compound fields); the rest needs a word from the
caller, because guessing wrong gives an image that looks plausible.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Axes = Literal["slices", "coils"]
_FIELDS = ({"r", "i"}, {"re", "im"}, {"real", "imag"})


@dataclass(frozen=True)
class Layout:
    """How one dataset holds k-space.

    Attributes:
        shape: (slices, coils, h, w).
        axes: None where all four axes are stored; "slices" where the coil axis is absent (single coil), "coils" where
            the slice axis is (one slice).
        fields: names of the real and the imaginary part in a compound type, or None.
        pairs: the last axis holds real and imaginary part.
    """

    shape: tuple[int, int, int, int]
    axes: Axes | None
    fields: tuple[str, str] | None
    pairs: bool

    def index(self, i: int) -> tuple[int | slice, ...]:
        """The selection that reads slice i."""
        return () if self.axes == "coils" else (i,)

    def complex64(self, values: NDArray[Any]) -> NDArray[np.complex64]:
        """What was read for one slice as (coils, h, w)."""
        if self.pairs:
            return joined(values[..., 0], values[..., 1]).reshape(self.shape[1:])
        return as_complex64(values, self.fields).reshape(self.shape[1:])


def as_complex64(values: NDArray[Any], fields: tuple[str, str] | None) -> NDArray[np.complex64]:
    """Complex values of any precision and byte order, or of a compound type with these fields."""
    return joined(values.real, values.imag) if fields is None else joined(values[fields[0]], values[fields[1]])


def joined(real: NDArray[Any], imaginary: NDArray[Any]) -> NDArray[np.complex64]:
    """real + i imaginary; values beyond float32 become infinite, and the caller refuses those."""
    out = np.empty(real.shape, np.complex64)
    with np.errstate(over="ignore"):
        out.real, out.imag = real, imaginary
    return out


def find_layout(shape: tuple[int, ...], dtype: np.dtype, axes: Axes | None, pairs: bool, single: bool) -> Layout:
    """The layout of a stored array.

    Args:
        shape, dtype: of the dataset.
        axes: what the caller says of a 3-D array.
        pairs: the caller says that the last axis of two is (real, imaginary).
        single: the file shows by other means that it is single-coil.

    Raises:
        ValueError: not k-space, or ambiguous; the message names the option that decides.
    """
    fields = complex_fields(shape, dtype, pairs)
    spatial = shape[:-1] if pairs else shape
    if min(spatial, default=0) < 1:
        raise ValueError(f"wanted (slices, coils, h, w), got the empty shape {shape}.")
    if len(spatial) == 4 and axes is None:
        return Layout(spatial, None, fields, pairs)
    if len(spatial) == 3:
        axes = axes or ("slices" if single else None)
        if axes is None:
            raise ValueError(
                f"is 3-D, {shape}, where multi-coil k-space is (slices, coils, h, w); pass axes='slices' if it is "
                "single-coil (slices, h, w), axes='coils' if it is one slice (coils, h, w); on the command line --open "
                "axes=slices or --open axes=coils."
            )
        h, w = spatial[1:]
        full = (spatial[0], 1, h, w) if axes == "slices" else (1, spatial[0], h, w)
        return Layout(full, axes, fields, pairs)
    hint = f" (axes='{axes}' is for 3-D arrays)" if axes else ""
    raise ValueError(f"wanted (slices, coils, h, w) or single-coil (slices, h, w), got {shape}{hint}.")


def complex_fields(shape: tuple[int, ...], dtype: np.dtype, pairs: bool = False) -> tuple[str, str] | None:
    """Names of the real and imaginary field of a compound type, None for complex values and for pairs.

    Raises:
        ValueError: values that are none of these; the message says what to do.
    """
    if pairs:
        if dtype.kind not in "iuf" or shape[-1:] != (2,):
            raise ValueError(f"pairs=True wants real numbers with a last axis of 2, got {dtype} of shape {shape}.")
        return None
    if dtype.kind == "c":
        return None
    if dtype.names is not None:
        return _compound(dtype, dtype.names)
    if dtype.kind in "iuf" and shape[-1:] == (2,):
        raise ValueError(f"is {dtype} with a last axis of 2; pass pairs=True if that axis is (real, imaginary).")
    raise ValueError(f"is {dtype}, not complex; magnitudes cannot be used as k-space, give the complex samples.")


def _compound(dtype: np.dtype, names: tuple[str, ...]) -> tuple[str, str]:
    by_name = {name.lower(): name for name in names}
    numeric = all(dtype[name].kind in "iuf" and dtype[name].shape == () for name in names)
    if len(names) != 2 or set(by_name) not in _FIELDS or not numeric:
        raise ValueError(f"is a compound of {names}; fields real and imag (or r and i) of numbers can be read.")
    real = next(by_name[name] for name in by_name if name.startswith("r"))
    return real, next(name for name in names if name != real)
