from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.people.signing import (
    PersonKey,
    Statement,
    canonical_json,
    decode_public_key,
    needs_passphrase,
    read_key_file,
    verify,
    write_key_file,
)
from schemas.errors import ConfigurationError, InputError, PermissionsError

TEXTS = st.text(max_size=30)
STATEMENT = Statement("person.enrol.request", "officer-7", "00" * 32, "2026-11-22T12:00:00.000000Z")


@given(st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), TEXTS | st.integers() | st.none()))
def test_canonical_json_reads_back_and_does_not_depend_on_order(value: dict[str, object]) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(dict(reversed(value.items()))) == text


@pytest.mark.parametrize("value", [1.5, {"a": b"bytes"}, {1: "a"}, {"é": 1}, {"a": [{"b": 0.1}]}])
def test_canonical_json_refuses_what_has_two_spellings(value: object) -> None:
    with pytest.raises(InputError):
        canonical_json(value)


def test_a_signature_holds_for_its_statement_only() -> None:
    key = PersonKey.generate("officer-7")
    signature = key.sign(STATEMENT)
    assert verify(key.public_bytes, STATEMENT.to_bytes(), signature)
    for other in (
        Statement("person.enrol.confirm", STATEMENT.case, STATEMENT.digest, STATEMENT.time),
        Statement(STATEMENT.action, "officer-8", STATEMENT.digest, STATEMENT.time),
        Statement(STATEMENT.action, STATEMENT.case, "11" * 32, STATEMENT.time),
        Statement(STATEMENT.action, STATEMENT.case, STATEMENT.digest, "2026-11-22T12:00:01.000000Z"),
    ):
        assert not verify(key.public_bytes, other.to_bytes(), signature)
    assert not verify(PersonKey.generate("officer-8").public_bytes, STATEMENT.to_bytes(), signature)


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!", "é"])
def test_what_is_no_signature_does_not_verify(signature: str) -> None:
    assert not verify(PersonKey.generate("a-1").public_bytes, b"message", signature)


@pytest.mark.parametrize("passphrase", [None, b"long and secret"])
def test_a_key_file_reads_back(tmp_path: Path, passphrase: bytes | None) -> None:
    path, key = tmp_path / "k.json", PersonKey.generate("officer-7")
    write_key_file(path, key, passphrase)
    assert path.stat().st_mode & 0o777 == 0o600
    assert needs_passphrase(path) == (passphrase is not None)
    again = read_key_file(path, passphrase)
    assert (again.person_id, again.public_bytes) == ("officer-7", key.public_bytes)
    assert again.sign(STATEMENT) == key.sign(STATEMENT)


def test_a_sealed_key_file_does_not_hold_the_private_key(tmp_path: Path) -> None:
    key = PersonKey.generate("officer-7")
    write_key_file(tmp_path / "k.json", key, b"long and secret")
    plain = json.loads(key.to_json())["private_key"]
    assert plain not in (tmp_path / "k.json").read_text()
    for wrong in (None, b"wrong"):
        with pytest.raises(ConfigurationError):
            read_key_file(tmp_path / "k.json", wrong)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    write_key_file(path, PersonKey.generate("officer-7"))
    path.chmod(0o640)
    with pytest.raises(PermissionsError):
        read_key_file(path)


def test_a_key_file_is_never_overwritten_or_followed(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    write_key_file(path, PersonKey.generate("officer-7"))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError):
        write_key_file(path, PersonKey.generate("officer-7"))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigurationError):
        read_key_file(tmp_path / "link")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"public_key": PersonKey.generate("x").public_text},
        {"private_key": "AAAA"},
        {"private_key": None},
    ],
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    body = json.loads(PersonKey.generate("officer-7").to_json()) | change
    path = tmp_path / "k.json"
    path.touch(0o600)
    path.write_text(json.dumps(body))
    with pytest.raises(ConfigurationError):
        read_key_file(path)


def test_a_key_file_cannot_ask_for_endless_memory() -> None:
    body = json.loads(PersonKey.generate("officer-7").to_json(b"long and secret"))
    body["sealed_key"]["scrypt"]["n"] = 1 << 40
    with pytest.raises(ConfigurationError):
        PersonKey.from_json(json.dumps(body).encode(), b"long and secret")


_P = 2**255 - 19
_ORDER_8_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("y", [0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y, _P, _P + 1, _P + 18])
def test_a_key_under_which_anybody_can_sign_is_nobodys(y: int, sign: int) -> None:
    weak = (y | sign).to_bytes(32, "little")
    with pytest.raises(InputError):
        decode_public_key(b64encode(weak).decode())
    identity = b64encode((1).to_bytes(32, "little") + bytes(32)).decode()  # R of small order, and S nothing
    assert not any(verify(weak, b"statement %d" % number, identity) for number in range(64))


@pytest.mark.parametrize("text", ["", "AAAA", "?", "é" * 44])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        decode_public_key(text)
