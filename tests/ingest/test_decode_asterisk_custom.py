"""Files of cdr_custom are read by the line of the configuration that wrote them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason
from tests.ingest.test_decode_asterisk import FIXTURES, UNIQUEID, decode

# cdr_custom


def custom(template: str, **options: str) -> SourceConfig:
    return SourceConfig("pbx", zone="Europe/Stockholm", options={"template": template, **options})


def test_a_custom_file_is_read_by_the_line_that_wrote_it() -> None:
    template = (FIXTURES / "custom_template.txt").read_text()
    records, rejects = decode((FIXTURES / "custom.csv").read_bytes(), custom(template), "asterisk-custom")
    assert not rejects
    master, _ = decode((FIXTURES / "master_21.csv").read_bytes())
    for one, other in zip(records, master, strict=True):
        assert {**one, "call_link": None} == {**other, "call_link": None}


def test_a_template_may_be_names_and_may_write_epochs_and_other_things() -> None:
    data = b'"46701740605","46701740611",x y,1795158902.250000,1795159051.500000,"149.250",8,"16","%s"\n'
    names = "src, dst, , start, end, duration, disposition, hangupcause, uniqueid"
    record = decode(data.replace(b"%s", UNIQUEID.encode()), custom(names), "asterisk-custom")[0][0]
    assert record["start_time"] == datetime(2026, 11, 20, 7, 15, 2, 250_000, UTC)
    assert (record["duration_ms"], record["disposition"], record["cause"]) == (149_250, "answered", "16")
    assert record["utc_offset_s"] is None
    line = "X.csv => ${CDR(src)},${CDR(start,u)},${CDR(end,u)},${FILTER(a,b,${CDR(userfield)})},${HANGUPCAUSE}"
    record = decode(b"46701740605,1795158902.25,1795158903.25,,16\n", custom(line), "asterisk-custom")[0][0]
    assert (record["calling_number"], record["cause"]) == ("46701740605", "16")


@pytest.mark.parametrize(
    "template", ["", "src,dst", "start,end", "src,dst,start", "src,src,start,end", "${CDR(userfield)}"]
)
def test_a_template_that_cannot_make_records_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError):
        decode(b"", custom(template), "asterisk-custom")


def test_a_custom_row_of_another_width_is_rejected() -> None:
    _, rejects = decode(b"1,2,3\n", custom("src,dst,start,end"), "asterisk-custom")
    assert rejects[0].reason is RejectReason.COLUMN_COUNT
