"""An export of FreePBX's table is read by its columns, as the page on Asterisk says."""

from __future__ import annotations

import re
from pathlib import Path

from ingest.source_config import SourceConfig
from schemas.rejects import RejectReason
from tests.ingest.decoding import decode

PAGE = Path(__file__).parents[2] / "docs" / "sources" / "asterisk.md"
ROW = (
    b'"2026-11-20 09:00:00","A","46701740605","46701740611","in","SIP/a-1","SIP/b-1","Dial","x",60,50,"ANSWERED",3,"c",'
    b'"1795165200.1","","1795165200.1",7\n'
)


def test_the_template_of_the_page_reads_a_row_and_refuses_the_header() -> None:
    found = re.search(r"^ {4}(start,clid,\S+)$", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    source = SourceConfig("pbx", zone="Europe/Stockholm", options={"template": found[1]})
    (row,), rejects = decode("asterisk-custom", found[1].encode() + b"\n" + ROW, source)
    assert [(one.position, one.reason) for one in rejects] == [(1, RejectReason.BAD_FIELD)]
    assert (row["record_key"], row["start_time"].isoformat()) == ("1795165200.1/7", "2026-11-20T08:00:00+00:00")
    assert (row["calling_number"], row["called_number"]) == ("46701740605", "46701740611")
