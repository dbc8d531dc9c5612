"""The authority opens what is whole and meant for it, and nothing else; nothing is written of what is not."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from api.cli import main
from api.disclosure import package
from api.handover import opening
from api.handover.envelope import enclose
from api.handover.opening import check, open_to, verify_folder
from schemas.errors import ConfigurationError, IntegrityError
from tests.api.handover.authority import side
from tests.api.handover.made import (
    KEY,
    NAMES,
    PUBLIC,
    cover_of,
    envelopes,
    inner_parts,
    manifest_of,
    outer,
    reader,
    result,
)
from tests.examples import examples

PARTS = inner_parts(result(5))
WHOLE = envelopes(PARTS)


def written(tmp_path: Path, members: dict[str, bytes]) -> Path:
    path = tmp_path / "delivery.zip"
    path.write_bytes(outer(members))
    return path


def test_a_whole_delivery_opens_to_every_record_in_every_form(tmp_path: Path) -> None:
    folder = tmp_path / "opened"
    opened = open_to(written(tmp_path, WHOLE), folder, reader())
    assert opened.manifest["counts"]["records"] == 5
    assert [part["records"] for part in opened.manifest["parts"]] == [2, 2, 1]
    rows, cells = [], []
    for number in (1, 2, 3):
        place = folder / f"part-{number:04d}"
        rows += [orjson.loads(line) for line in (place / "records.ndjson").read_bytes().splitlines()]
        cells += list(csv.DictReader(io.StringIO((place / "records.csv").read_text(), newline="")))
        status = "responseComplete" if number == 3 else "responseIncomplete"
        assert f"<{status}/>" in (place / "records.xml").read_text()
    assert len(rows) == len(cells) == 5
    assert [row["conflict"] for row in rows].count(True) == 1
    for row, cell in zip(rows, cells, strict=True):
        assert list(cell) == list(NAMES)
        assert {name: json.dumps(value).strip('"') for name, value in row.items()} == {
            k: v for k, v in cell.items() if v
        }
    assert verify_folder(folder, PUBLIC).opening == opened.opening == check(tmp_path / "delivery.zip", reader()).opening
    with pytest.raises(ConfigurationError):
        open_to(tmp_path / "delivery.zip", folder, reader())


def test_none_found_is_a_signed_answer_without_parts(tmp_path: Path) -> None:
    opened = check(written(tmp_path, envelopes([])), reader())
    assert (opened.manifest["result"], opened.manifest["parts"]) == ("none-found", [])


def _without(name: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {key: value for key, value in WHOLE.items() if key != name}


def _exchanged(one: str, other: str) -> dict[str, bytes]:
    return WHOLE | {one: WHOLE[other], other: WHOLE[one]}


def _other_result() -> list[package.Inner]:
    return inner_parts(result(9).slice(4))


def _reordered() -> dict[str, bytes]:
    names = ["cover.p7m", "part-0002.p7m", "part-0001.p7m", "part-0003.p7m"]
    return {name: WHOLE[name] for name in names}


def _resigned() -> dict[str, bytes]:
    return WHOLE | {
        "cover.p7m": enclose(cover_of(manifest_of(PARTS), Ed25519PrivateKey.generate()), side().certificate)
    }


def _recounted() -> dict[str, bytes]:
    counts = orjson.loads(manifest_of(PARTS))["counts"] | {"records": 4}
    return WHOLE | {"cover.p7m": enclose(cover_of(manifest_of(PARTS, counts=counts)), side().certificate)}


def _mixed_cover() -> dict[str, bytes]:
    """Manifest of one delivery, receipt of another: both signed, neither belongs."""
    one = package.unpack(cover_of(manifest_of(PARTS)), package.COVER, 1 << 24)
    two = package.unpack(cover_of(manifest_of(_other_result())), package.COVER, 1 << 24)
    mixed = {**one, "receipt.json": two["receipt.json"], "receipt.sig": two["receipt.sig"]}
    return WHOLE | {"cover.p7m": enclose(package.pack(mixed), side().certificate)}


def _path_in_a_name() -> dict[str, bytes]:
    parts = [part.as_dict() for part in PARTS]
    parts[0]["files"][0]["name"] = "../../escaped"
    about = orjson.loads(manifest_of(PARTS))
    return WHOLE | {"cover.p7m": enclose(cover_of(package.manifest(about, NAMES, parts)), side().certificate)}


ATTACKS: dict[str, Callable[[], dict[str, bytes]]] = {
    "the last part is left out": _without("part-0003.p7m"),
    "a part in the middle is left out": _without("part-0002.p7m"),
    "the cover is left out": _without("cover.p7m"),
    "two parts are exchanged": lambda: _exchanged("part-0001.p7m", "part-0002.p7m"),
    "cover and part are exchanged": lambda: _exchanged("cover.p7m", "part-0001.p7m"),
    "members stand in another order": _reordered,
    "a part stands twice": lambda: WHOLE | {"part-0002.p7m": WHOLE["part-0001.p7m"]},
    "a part is added": lambda: WHOLE | {"part-0004.p7m": WHOLE["part-0003.p7m"]},
    "a file is added": lambda: WHOLE | {"readme.txt": b"hello"},
    "a part of another delivery": lambda: WHOLE | {"part-0002.p7m": envelopes(_other_result())["part-0002.p7m"]},
    "the cover of another delivery": lambda: WHOLE | {"cover.p7m": envelopes(_other_result())["cover.p7m"]},
    "signed by somebody else": _resigned,
    "a count is changed and signed": _recounted,
    "manifest and receipt of two deliveries": _mixed_cover,
    "a file's name leads out of the folder": _path_in_a_name,
    "enclosed for somebody else": lambda: envelopes(PARTS, to=side("customs")),
    "a part in the clear": lambda: WHOLE | {"part-0001.p7m": PARTS[0].data},
    "nothing": dict,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_each_attack_is_found_and_nothing_is_written(attack: Callable[[], dict[str, bytes]], tmp_path: Path) -> None:
    path = written(tmp_path, attack())
    with pytest.raises(IntegrityError):
        open_to(path, tmp_path / "opened", reader())
    assert sorted(item.name for item in tmp_path.iterdir()) == ["delivery.zip"]


@given(data=st.data())
@examples(50)
def test_every_cut_splice_and_flip_is_found_or_changes_nothing_that_is_read(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = FILE
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 4)))
    other = whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:]
    path = tmp_path_factory.getbasetemp() / "spliced.zip"
    path.write_bytes(other)
    try:
        opened = check(path, reader())
    except IntegrityError:
        return
    # What is not authenticated is the wrapping only: heads of zip and CMS that do not reach what is inside.
    assert opened.manifest == orjson.loads(manifest_of(PARTS))


FILE = outer(WHOLE)


@pytest.mark.parametrize("attack", ["changed", "added", "removed", "page", "another-key"])
def test_an_opened_folder_that_was_changed_is_found(attack: str, tmp_path: Path) -> None:
    folder = tmp_path / "opened"
    open_to(written(tmp_path, WHOLE), folder, reader())
    target = folder / "part-0002" / "records.csv"
    key = PUBLIC
    if attack == "changed":
        target.write_bytes(target.read_bytes().replace(b"voice", b"video") + b"x")
    elif attack == "added":
        (folder / "part-0002" / "more.csv").write_bytes(b"")
    elif attack == "removed":
        target.unlink()
    elif attack == "page":
        (folder / "summary.html").write_bytes(b"<p>all is well</p>")
    else:
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(IntegrityError):
        verify_folder(folder, key)


def _flagged(data: bytes) -> bytes:
    """Say of the first member that it is encrypted, in both of its heads."""
    local, central = data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8
    marked = bytearray(data)
    marked[local] |= 1
    marked[central] |= 1
    return bytes(marked)


def _deflated(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "limits", "words"),
    [
        (_deflated(WHOLE), {}, "not an envelope"),
        (_flagged(FILE), {}, "not an envelope"),
        (FILE, {"ENVELOPE_BYTES_MAX": 10}, "not an envelope"),
        (FILE, {"PARTS_MAX": 2}, "members of a delivery"),
    ],
    ids=["compressed", "encrypted", "too large", "too many"],
)
def test_a_member_that_could_unfold_without_end_is_not_read(
    data: bytes, limits: dict[str, int], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "delivery.zip"
    path.write_bytes(data)
    for name, value in limits.items():
        monkeypatch.setattr(opening, name, value)
    with pytest.raises(IntegrityError, match=words):
        check(path, reader())


def test_a_folder_is_new_in_one_that_is_there_and_holds_a_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = written(tmp_path, WHOLE), tmp_path / "opened"
    with pytest.raises(ConfigurationError):
        open_to(path, tmp_path / "absent" / "opened", reader())
    with pytest.raises(IntegrityError, match="no opened delivery"):
        verify_folder(tmp_path, PUBLIC)
    open_to(path, folder, reader())
    monkeypatch.setattr(opening, "COVER_BYTES_MAX", 10)
    with pytest.raises(IntegrityError, match="larger"):
        verify_folder(folder, PUBLIC)


def test_the_command_line_opens_and_verifies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from base64 import b64encode

    written(tmp_path, WHOLE)
    police = side()
    (tmp_path / "key.pem").write_bytes(police.key_pem + police.certificate_pem)
    (tmp_path / "delivery.pub").write_bytes(b64encode(KEY.public_key().public_bytes_raw()))
    (tmp_path / "customs.pem").write_bytes(side("customs").key_pem + side("customs").certificate_pem)

    def lagrum(*argv: str) -> tuple[int, dict[str, object]]:
        capfd.readouterr()
        code = main(["--json", "delivery", *argv])
        return code, json.loads(capfd.readouterr().out)

    signed = ("--signed-by", str(tmp_path / "delivery.pub"))
    opened = str(tmp_path / "opened")
    code, said = lagrum(
        "open", str(tmp_path / "delivery.zip"), "--key", str(tmp_path / "key.pem"), *signed, "--output", opened
    )
    assert (code, said["records"], said["verified"]) == (0, 5, True)
    assert lagrum("verify", opened, *signed)[0] == 0
    (tmp_path / "opened" / "manifest.json").write_bytes(b"{}")
    assert lagrum("verify", opened, *signed) == (1, {"verified": False, "problem": "the signature does not verify"})
    code, said = lagrum("open", str(tmp_path / "delivery.zip"), "--key", str(tmp_path / "customs.pem"), *signed)
    assert (code, said["verified"]) == (1, False)
