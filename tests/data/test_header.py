"""The header tells matrix sizes and the acquired columns, with or without name space, and tolerates gaps."""

import pytest

from invdiff.data.header import Header, parse_header

XML = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader{ns}><acquisitionSystemInformation><receiverChannels>15</receiverChannels></acquisitionSystemInformation>
<encoding><encodedSpace><matrixSize><x>640</x><y>{y}</y><z>1</z></matrixSize></encodedSpace>
<reconSpace><matrixSize><x>320</x><y>320</y><z>1</z></matrixSize>
<fieldOfView_mm><x>140</x><y>140.5</y><z>4.5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>321</maximum><center>160</center>
</kspace_encoding_step_1></encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


@pytest.mark.parametrize("ns", ["", ' xmlns="http://www.ismrm.org/ISMRMRD"'])
def test_facts_and_padding(ns: str) -> None:
    header = parse_header(XML.format(ns=ns, y=368))
    assert header.encoded == (640, 368, 1)
    assert header.recon == (320, 320, 1)
    assert header.channels == 15
    assert header.field_of_view == (140.0, 140.5, 4.5)
    assert header.trajectory == "cartesian"
    assert header.padding == (24, 346)  # 368 // 2 - 160, and that + 321 + 1


@pytest.mark.parametrize("y", ["", "many", "nan", "1e300"])
def test_what_is_no_number_is_none(y: str) -> None:
    header = parse_header(XML.format(ns="", y=y).encode() + b"\0\0")
    assert header.encoded is None
    assert header.padding is None
    assert header.recon == (320, 320, 1)


def test_an_empty_header_and_malformed_ones() -> None:
    assert parse_header("<ismrmrdHeader/>") == Header()
    for bad in (b"", b"\xff\xfe", "<a>", '<?xml version="1.0" encoding="nowhere"?><a/>', "<a>&b;</a>"):
        with pytest.raises(ValueError, match="not well-formed"):
            parse_header(bad)
