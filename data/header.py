"""padding = (encoded_y // 2 - centre, that + maximum + 1): what the ISMRMRD header of a fastMRI file tells.

Columns of k-space outside the padding limits were never acquired; they hold zeros that are no measurement.
"""

from dataclasses import dataclass
from xml.etree import ElementTree

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Header:
    """Facts of an ISMRMRD header; None where the header does not state them.

    Attributes:
        encoded, recon: matrix size (x read-out, y phase encoding, z).
        encoded_field_of_view, field_of_view: (x, y, z) of k-space and of the reconstructed image, mm.
        limits, limits_2: phase encoding along y and along z (minimum, maximum, centre).
        channels: receiver channels of the scan (emulated single-coil files keep the scanner's number).
        trajectory: "cartesian", "radial", ...
        field_strength: tesla. frequency: of hydrogen, Hz. flip_angle: degrees.
        echo_time, repetition_time: the first, ms.
        vendor, model, protocol: texts. patient_position: "HFS", "FFS", ...
    """

    encoded: Triple | None = None
    recon: Triple | None = None
    field_of_view: tuple[float, float, float] | None = None
    limits: Triple | None = None
    channels: int | None = None
    trajectory: str | None = None
    encoded_field_of_view: tuple[float, float, float] | None = None
    limits_2: Triple | None = None
    field_strength: float | None = None
    frequency: float | None = None
    echo_time: float | None = None
    repetition_time: float | None = None
    flip_angle: float | None = None
    vendor: str | None = None
    model: str | None = None
    protocol: str | None = None
    patient_position: str | None = None

    @property
    def cartesian(self) -> bool:
        """Whether samples lie on a grid, which headers that name no trajectory mean."""
        return self.trajectory in (None, "cartesian")

    @property
    def padding(self) -> tuple[int, int] | None:
        """(left, right): columns left <= k < right were acquired."""
        if self.encoded is None or self.limits is None:
            return None
        left = self.encoded[1] // 2 - self.limits[2]
        return left, left + self.limits[1] + 1

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Distance of pixels along the read-out and along the phase encoding, and thickness of a slice, mm."""
        if self.recon is None or self.field_of_view is None:
            return None
        encoded = self.encoded is not None and self.encoded_field_of_view is not None
        matrix, view = (self.encoded, self.encoded_field_of_view) if encoded else (self.recon, self.field_of_view)
        assert matrix is not None
        assert view is not None
        found = (
            view[0] / max(matrix[0], 1),
            view[1] / max(matrix[1], 1),
            self.field_of_view[2] / max(self.recon[2], 1),
        )
        return found if min(found) > 0 else None


def parse_header(xml: bytes | str) -> Header:
    """Read an `ismrmrdHeader`, with or without name space; what is missing or not a number becomes None.

    Raises:
        ValueError: not well-formed XML, or XML with a document type (never part of the format, and able to expand
            without limit).
    """
    data = (xml.encode() if isinstance(xml, str) else bytes(xml)).rstrip(b"\0 \r\n\t").lstrip()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("holds a document type or entities, which ISMRMRD headers never do")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"is not well-formed XML ({error})") from error
    limits, system = "encoding/encodingLimits/kspace_encoding_step_", "acquisitionSystemInformation/"
    return Header(
        encoded=_triple(root, "encoding/encodedSpace/matrixSize/", "xyz"),
        recon=_triple(root, "encoding/reconSpace/matrixSize/", "xyz"),
        field_of_view=_floats(root, "encoding/reconSpace/fieldOfView_mm/", "xyz"),
        limits=_triple(root, f"{limits}1/", ("minimum", "maximum", "center")),
        channels=_integer(_text(root, system + "receiverChannels")),
        trajectory=_text(root, "encoding/trajectory"),
        encoded_field_of_view=_floats(root, "encoding/encodedSpace/fieldOfView_mm/", "xyz"),
        limits_2=_triple(root, f"{limits}2/", ("minimum", "maximum", "center")),
        field_strength=_number(_text(root, system + "systemFieldStrength_T")),
        frequency=_number(_text(root, "experimentalConditions/H1resonanceFrequency_Hz")),
        echo_time=_number(_text(root, "sequenceParameters/TE")),
        repetition_time=_number(_text(root, "sequenceParameters/TR")),
        flip_angle=_number(_text(root, "sequenceParameters/flipAngle_deg")),
        vendor=_text(root, system + "systemVendor"),
        model=_text(root, system + "systemModel"),
        protocol=_text(root, "measurementInformation/protocolName"),
        patient_position=_text(root, "measurementInformation/patientPosition"),
    )


def _text(root: ElementTree.Element, name: str) -> str | None:
    found = root.find("/".join("{*}" + part for part in name.split("/")))
    return None if found is None or found.text is None else found.text.strip()


def _integer(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None or abs(number) > 2**31 else int(number)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value - value == 0 else None  # neither NaN nor infinite


def _triple(root: ElementTree.Element, prefix: str, names: tuple[str, ...] | str) -> Triple | None:
    a, b, c = (_integer(_text(root, prefix + name)) for name in names)
    return None if a is None or b is None or c is None else (a, b, c)


def _floats(root: ElementTree.Element, prefix: str, names: str) -> tuple[float, float, float] | None:
    a, b, c = (_number(_text(root, prefix + name)) for name in names)
    return None if a is None or b is None or c is None else (a, b, c)
