"""value = stored x RescaleSlope + RescaleIntercept: what a DICOM MR or CT image stores, and which attributes it needs.

Type 1 attributes must have a value, type 2 must be there and may be empty. Source: DICOM PS3.3, the MR Image IOD (A.4),
the CT Image IOD (A.3) and their modules.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.header import Header

WHITE = 4095  # the largest stored value of an MR image, 12 bits as scanners have it
_FILLED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "SamplesPerPixel", "Rows"),
    *("Columns", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelData", "DerivationDescription"),
)
_PRESENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "Laterality", "PatientPosition", "Manufacturer"),
    *("PositionReferenceIndicator", "InstanceNumber", "SliceThickness"),
)


@dataclass(frozen=True)
class Encoded:
    """Stored pixels (slices, h, w), the attributes that explain them, and a sentence for people."""

    pixels: NDArray[np.generic]
    attributes: Mapping[str, Any]
    sentence: str


@dataclass(frozen=True)
class DicomKind:
    """One kind of image.

    Attributes:
        modality, sop_class: of the images.
        filled, present: keywords of type 1 and type 2 attributes beyond those of every image.
        image_type: third value of ImageType.
        encode: values (slices, h, w) to what is stored.
        facts: attributes that the header of a scan fills.
    """

    modality: str
    sop_class: str
    filled: tuple[str, ...]
    present: tuple[str, ...]
    image_type: str
    encode: Callable[[NDArray[np.float32]], Encoded]
    facts: Callable[[Header], dict[str, Any]]

    @property
    def needed(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Keywords of all type 1 and of all type 2 attributes."""
        return (*_FILLED, *self.filled), (*_PRESENT, *self.present)


def decimal(value: float | None) -> str:
    """At most the sixteen characters of a decimal string."""
    return "" if value is None else f"{value:.9g}"[:16]


def _magnitudes(volume: NDArray[np.float32]) -> Encoded:
    """0..4095 with one factor for all slices; without a rescale, which the MR Image IOD does not have."""
    scale = float(np.abs(volume).max()) / WHITE or 1.0
    stored = np.rint(volume / scale).clip(0, WHITE).astype("<u2")
    bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    return Encoded(stored, bits | {"WindowCenter": WHITE // 2, "WindowWidth": WHITE}, f"value = stored x {scale:.6g}")


def _hounsfield(volume: NDArray[np.float32]) -> Encoded:
    """Signed, 16 bits, in steps of 1 HU; in wider ones, the same for all slices, where values need them to fit."""
    limits = np.iinfo(np.int16)
    low, high = float(volume.min()), float(volume.max())
    slope = decimal(max(1.0, low / limits.min, high / limits.max))
    if float(slope) > 1:
        warnings.warn(f"Hounsfield units reach from {low:g} to {high:g}, beyond the {limits.min} to {limits.max} of "
                      f"DICOM: stored in steps of {slope} (RescaleSlope). Is the attenuation in mm^-1, and mu_water "
                      "right? Other formats hold the values as they are.", stacklevel=4)  # fmt: skip
    bits = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}
    rescale = {"RescaleSlope": slope, "RescaleIntercept": "0", "RescaleType": "HU"}
    window = {"WindowCenter": 40, "WindowWidth": 400}
    steps = "" if slope == "1" else f" in steps of {slope}"
    stored = np.rint(volume.astype(np.float64) / float(slope)).astype("<i2")
    return Encoded(stored, bits | rescale | window, f"Hounsfield units{steps}")


def _mr_facts(header: Header) -> dict[str, Any]:
    known = {"MagneticFieldStrength": header.field_strength, "FlipAngle": header.flip_angle}
    times = {"EchoTime": decimal(header.echo_time), "RepetitionTime": decimal(header.repetition_time)}
    sequence = {"ScanningSequence": "RM", "SequenceVariant": "NONE", "MRAcquisitionType": "2D"}
    return sequence | times | {name: decimal(value) for name, value in known.items() if value is not None}


MR = DicomKind(
    "MR",
    "1.2.840.10008.5.1.4.1.1.4",
    ("ScanningSequence", "SequenceVariant"),
    ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
    "OTHER",
    _magnitudes,
    _mr_facts,
)
CT = DicomKind(
    "CT",
    "1.2.840.10008.5.1.4.1.1.2",
    ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    ("KVP", "AcquisitionNumber"),
    "AXIAL",
    _hounsfield,
    lambda header: {},
)
KINDS: dict[str, DicomKind] = {"": MR, "HU": CT}
"""By the unit of the values."""
