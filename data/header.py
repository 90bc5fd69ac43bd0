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
        field_of_view: (x, y, z) of the reconstructed image, mm.
        limits: phase encoding (minimum, maximum, centre).
        channels: receiver channels of the scan (emulated single-coil files keep the scanner's number).
        trajectory: "cartesian", "radial", ...
    """

    encoded: Triple | None = None
    recon: Triple | None = None
    field_of_view: tuple[float, float, float] | None = None
    limits: Triple | None = None
    channels: int | None = None
    trajectory: str | None = None

    @property
    def padding(self) -> tuple[int, int] | None:
        """(left, right): columns left <= k < right were acquired."""
        if self.encoded is None or self.limits is None:
            return None
        left = self.encoded[1] // 2 - self.limits[2]
        return left, left + self.limits[1] + 1


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
    limits = "encoding/encodingLimits/kspace_encoding_step_1/"
    return Header(
        encoded=_triple(root, "encoding/encodedSpace/matrixSize/", "xyz"),
        recon=_triple(root, "encoding/reconSpace/matrixSize/", "xyz"),
        field_of_view=_floats(root, "encoding/reconSpace/fieldOfView_mm/", "xyz"),
        limits=_triple(root, limits, ("minimum", "maximum", "center")),
        channels=_integer(_text(root, "acquisitionSystemInformation/receiverChannels")),
        trajectory=_text(root, "encoding/trajectory"),
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
