"""Files that a spreadsheet, a data frame or a shell made of a switch's: taken as they were meant, or refused."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import BinaryIO, cast

import pyarrow as pa
import pytest

from ingest.source_config import SourceConfig
from ingest.streams import expanded
from schemas.errors import InputError
from schemas.numbers import normalise_number, rules, spoiled
from schemas.rejects import RejectReason
from tests.ingest.decoding import fixture
from tests.ingest.reading import taken
from tests.ingest.test_bad_input import GOOD, HEADERS, OPTIONS

CALLER = "46701740605"
SPOILED = [
    "4.67017E+10", "4,67017E+10", "4.6701740605e+10", "5E+10", "46701740605.0", "46701740605,0", "46701740605.00",
    "-46701740605", "'46701740605", "'+46701740605", '="46701740605"', "=46701740605", "46,701,740,605",
    "46'701'740'605", "1001.0", "###########", "#N/A",
    "\uff14\uff16701740605", "\u0664\u06667017406", "4670174060\u00b2", "46701\t740605", "\x1b[1m46701740605",
]  # fmt: skip
WRITTEN = [
    "+46 70-174 06 05", "+46.70.174.0605", "555.0000", "46\u00a0701\u00a0740\u00a0605", "08-123 45 00", "*21*0701740#",
    "sip:46701740605.0@192.0.2.1", "tel:+46-70-1740605", "Bank-ID", "1E5", "192.0.2.0", "46701740605,,1234", "72222",
    "O'Neil", "#31#0701740605", "\u0628\u0646\u0643 \u0662\u0664", "Xerox", "M\u00b2",
]  # fmt: skip
CELLS = ("asterisk-csv", "asterisk-custom", "freeswitch-csv", "csv", "mapping", "cucm-cdr", "acme-csv")
BASES = {
    "asterisk-csv": fixture("asterisk", "master_21.csv"),
    "freeswitch-csv": fixture("freeswitch", "master_example.csv").splitlines(keepends=True)[0],
    "cucm-cdr": fixture("cucm", "cdr.csv"),
    "acme-csv": fixture("acme", "cdr.csv"),
}
LOCAL = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}:[0-9]{2}):([0-9]{2})")

Cell = Callable[[str], str]


def base(name: str) -> bytes:
    return BASES.get(name) or HEADERS.get(name, b"") + GOOD[name]


def cells(name: str, change: Cell, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    """Return a format's good delivery with every cell changed and written anew, as a spreadsheet does."""
    rows = csv.reader(io.StringIO(base(name).decode()))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\r\n")  # type: ignore[arg-type]
    writer.writerows([change(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def read(name: str, data: bytes) -> tuple[list[tuple[object, ...]], Counter[tuple[str, str | None]]]:
    """Return what was taken, its times and parties alone, and why the others were refused."""
    source = SourceConfig("s", zone="Europe/Stockholm", options=OPTIONS.get(name, {}))
    records, rejects = taken(name, data, source)
    known = ("calling_number", "called_number", "start_time", "answer_time", "end_time", "duration_ms")
    rows = [tuple(record.get(field) for field in known) for record in records]
    return rows, Counter((reject.reason.value, reject.field) for reject in rejects)


@pytest.mark.parametrize("text", SPOILED)
def test_what_a_spreadsheet_made_of_a_number_is_no_number(text: str) -> None:
    assert spoiled(pa.array([CALLER, None, text])).tolist() == [False, False, True]  # type: ignore[union-attr]
    for country in (None, "SE", "US"):
        assert normalise_number(text, rules(country)) == text
    line = GOOD["csv"].replace(CALLER.encode(), b'"' + text.replace('"', '""').encode() + b'"')
    rows, rejects = read("csv", HEADERS["csv"] + GOOD["csv"] + line)
    assert len(rows) == 1 and rejects == {("bad-field", "calling_number"): 1}


@pytest.mark.parametrize("text", WRITTEN)
def test_what_people_write_and_dial_is_not_taken_for_it(text: str) -> None:
    assert spoiled(pa.array([text, CALLER])) is None
    line = GOOD["csv"].replace(CALLER.encode(), b'"' + text.encode() + b'"')
    rows, rejects = read("csv", HEADERS["csv"] + line)
    assert len(rows) == 1 and not rejects


@pytest.mark.parametrize(
    "text",
    [
        "\u202a+46701740605\u202c",
        "+\u200e46701740605",
        "46\u202f701\u202f740\u202f605",
        "4670\u200b1740605\u2060",
        "46\u2003701\u00ad740605",
        "46\u2012701\u2212740605",
        "46.701.740.605",
    ],
)
def test_a_number_with_marks_or_narrow_spaces_is_the_same_number(text: str) -> None:
    assert normalise_number(text, rules(None)) == normalise_number(text, rules("SE")) == CALLER
    line = GOOD["csv"].replace(CALLER.encode(), text.encode())
    assert read("csv", HEADERS["csv"] + line)[0][0][0] == CALLER


def test_other_identifiers_may_end_in_a_nought_but_have_no_exponent() -> None:
    text = pa.array(["1795158902.0", "12,0", "a+b", "1.79516E+09"])
    assert spoiled(text, exponents_only=True).tolist() == [False, False, False, True]  # type: ignore[union-attr]
    line = GOOD["csv"].replace(b"17,", b"1.79516E+09,", 1)
    assert read("csv", HEADERS["csv"] + line)[1] == {("bad-field", "record_key"): 1}


def test_a_large_delivery_is_looked_at_as_a_small_one() -> None:
    lines = [GOOD["csv"].replace(b"17,", b"%d," % number, 1) for number in range(30_000)]
    lines[17_000] = lines[17_000].replace(CALLER.encode(), b"4.67017E+10")
    lines[23_000] = lines[23_000].replace(CALLER.encode(), b"46701740605.0")
    rows, rejects = read("csv", HEADERS["csv"] + b"".join(lines))
    assert len(rows) == 29_998 and rejects == {("bad-field", "calling_number"): 2}
    assert {row[0] for row in rows} == {CALLER}


def _figures(cell: str) -> str:
    return f"{float(cell):.5E}" if re.fullmatch(r"\+?[0-9]{9,}(?:\.[0-9]+)?", cell) else cell


def _floats(cell: str) -> str:
    return f"{cell}.0" if re.fullmatch(r"[0-9]+", cell) else cell


def _apostrophes(cell: str) -> str:
    return f"'{cell}" if re.fullmatch(r"\+?[0-9]{8,}", cell) else cell


def _american(cell: str) -> str:
    found = LOCAL.fullmatch(cell)
    return cell if found is None else "{1}/{2}/{0} {3}:{4}".format(*found.groups())


def _swedish(cell: str) -> str:
    found = LOCAL.fullmatch(cell)
    return cell if found is None else "{}-{}-{} {}".format(*found.groups())


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("change", [_figures, _floats, _apostrophes, _american, _swedish])
def test_a_file_that_was_saved_again_brings_the_same_records_or_rejects(name: str, change: Cell) -> None:
    good, _ = read(name, base(name))
    rows, rejects = read(name, cells(name, change))
    assert set(rows) <= set(good), "nothing is stored that the switch did not write"
    assert len(rows) + sum(rejects.values()) >= len(good)
    if change in (_american, _swedish) and LOCAL.search(base(name).decode()):
        assert not rows  # a date may be another one, and seconds are gone
        assert {reason for reason, _ in rejects} == {"bad-time"}


@pytest.mark.parametrize("name", CELLS)
def test_semicolons_are_no_commas(name: str) -> None:
    data = cells(name, str, delimiter=";", quoting=csv.QUOTE_ALL)
    if name == "csv":
        with pytest.raises(InputError) as caught:
            read(name, data)
        assert CALLER not in caught.value.message
        return
    rows, rejects = read(name, data)
    assert not rows and set(rejects) <= {("malformed", None), ("column-count", None)}


@pytest.mark.parametrize("name", [*CELLS, "asterisk-cel", "cucm-cmr", "kamailio-acc", "kannel", "smpp", "conntrack"])
def test_rows_that_end_in_carriage_returns_alone_are_never_one_record(name: str) -> None:
    data = (base(name) + GOOD[name] * 3).replace(b"\n", b"\r")
    if name in ("csv", "cucm-cmr"):
        data = data.replace(b"\r", b"\n", 1)  # the header is a line, else the whole is refused: it holds no record
    rows, rejects = read(name, data)
    assert not rows and sum(rejects.values()) == 1


@pytest.mark.parametrize("name", ["asterisk-csv", "asterisk-custom", "asterisk-cel", "csv", "mapping", "ndjson"])
def test_a_mark_between_files_put_together_spoils_at_most_its_own_record(name: str) -> None:
    data = b"\xef\xbb\xbf" + (BASES.get(name) or HEADERS.get(name, b"") + GOOD[name])
    rows, rejects = read(name, data + data)
    single, _ = read(name, data)
    assert set(rows) == set(single) or name == "asterisk-cel"
    assert len(rows) + sum(rejects.values()) >= 2 * len(single)
    assert sum(rejects.values()) == 1
    assert {reason for reason, _ in rejects} <= {"encoding", "bad-time", "malformed"}


def test_a_sequence_that_is_no_number_tells_of_another_layout() -> None:
    line = fixture("asterisk", "master_21.csv").partition(b"\n")[0]
    short = line[: line.rindex(b",")]  # twenty columns that were twenty-one
    whole = taken("asterisk-csv", line + b"\n" + short + b"\n" + line + b"\n", SourceConfig("s"))
    assert [(reject.position, reject.reason, reject.field) for reject in whole[1]] == [
        (2, RejectReason.BAD_FIELD, "sequence")
    ]


@pytest.mark.parametrize("uniqueid", ["1.79516E+09", "1,8E+09", "2E+09"])
def test_a_uniqueid_that_lost_its_digits_is_no_key(uniqueid: str) -> None:
    line = cells("asterisk-csv", lambda cell: "1001" if CALLER in cell else cell).partition(b"\r\n")[0]
    spoilt = re.sub(rb"[0-9]{10}\.52\b", b'"' + uniqueid.encode() + b'"', line, count=1)
    assert spoilt != line
    rows, rejects = read("asterisk-csv", line + b"\n" + spoilt + b"\n")
    assert len(rows) == 1 and rejects == {("bad-field", "uniqueid"): 1}


def _tar(data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        about = tarfile.TarInfo("cdr.csv")
        about.size = len(data)
        archive.addfile(about, io.BytesIO(data))
    return made.getvalue()


def _zip(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("cdr.csv", data)
    return made.getvalue()


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda data: gzip.compress(gzip.compress(data)), "compressed twice"),
        (lambda data: gzip.compress(_tar(data)), "tar archive"),
        (_tar, "tar archive"),
        (_zip, "ZIP archive"),
        (bz2.compress, "bzip2"),
        (lzma.compress, "xz"),
        (lambda data: b"%PDF-1.7\n" + data, "PDF"),
    ],
)
def test_an_archive_is_refused_with_what_it_is(made: Callable[[bytes], bytes], kind: str) -> None:
    data = made(HEADERS["csv"] + GOOD["csv"])
    with pytest.raises(InputError, match=kind):
        expanded(cast(BinaryIO, io.BytesIO(data)))
    plain = HEADERS["csv"] + GOOD["csv"]
    for taken_as_is in (plain, gzip.compress(plain), gzip.compress(plain[:99]) + gzip.compress(plain[99:])):
        assert expanded(cast(BinaryIO, io.BytesIO(taken_as_is))).read() == plain
