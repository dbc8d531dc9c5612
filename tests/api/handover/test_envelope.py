"""Envelopes open with the authority's key, here and in another program, and with no other."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.handover import envelope
from api.handover.envelope import (
    disclose,
    enclose,
    load_certificate,
    load_private_key,
)
from schemas.errors import ConfigurationError, IntegrityError
from tests.api.handover.authority import side

DATA = b"records of somebody\r\n\x00\xff" * 1000


def test_only_the_authority_s_key_opens_and_every_envelope_is_fresh() -> None:
    police, customs = side("police"), side("customs")
    first, second = enclose(DATA, police.certificate), enclose(DATA, police.certificate)
    assert first != second
    assert b"somebody" not in first
    for one in (first, second):
        assert disclose(one, police.certificate, police.key) == DATA
        for certificate, key in ((customs.certificate, customs.key), (police.certificate, customs.key)):
            with pytest.raises(IntegrityError):
                disclose(one, certificate, key)


def test_an_independent_program_opens_an_envelope(tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl on this machine")
    police = side("police")
    (tmp_path / "in").write_bytes(enclose(DATA, police.certificate))
    (tmp_path / "key").write_bytes(police.key_pem)
    (tmp_path / "cert").write_bytes(police.certificate_pem)
    told = ["cms", "-decrypt", "-inform", "DER", "-binary", "-in", "in", "-inkey", "key", "-recip", "cert"]
    opened = subprocess.run([program, *told], cwd=tmp_path, capture_output=True, check=True)
    assert opened.stdout == DATA
    shown = subprocess.run(
        [program, "cms", "-cmsout", "-print", "-inform", "DER", "-in", "in"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert b"aes-256-cbc" in shown.stdout


def test_a_damaged_envelope_raises_one_error_only_or_opens_to_what_its_digest_tells() -> None:
    """An envelope does not authenticate: the signed digest of its content is what finds the rest."""
    police = side("police")
    envelope = enclose(DATA[:500], police.certificate)
    opened = 0
    for position in range(0, len(envelope), 7):
        changed = bytearray(envelope)
        changed[position] ^= 0x11
        with suppress(IntegrityError):
            opened += disclose(bytes(changed), police.certificate, police.key) != DATA[:500]
    assert opened > 10
    for cut in (0, 1, 100, len(envelope) - 1):
        with pytest.raises(IntegrityError):
            disclose(envelope[:cut], police.certificate, police.key)


def test_keys_and_certificates_that_are_none_are_refused_without_their_content() -> None:
    for load in (load_certificate, load_private_key):
        with pytest.raises(ConfigurationError) as refusal:
            load(b"secret words")
        assert "secret words" not in str(refusal.value)
    assert load_certificate(side("police").certificate_pem.decode()) == side("police").certificate
    assert load_private_key(side("police").key_pem).key_size == 3072
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigurationError, match="RSA"):
        load_private_key(pem)


def test_what_is_larger_than_envelopes_are_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    police = side("police")
    whole = enclose(DATA, police.certificate)
    monkeypatch.setattr(envelope, "ENVELOPE_BYTES_MAX", len(whole))
    assert disclose(whole, police.certificate, police.key) == DATA
    monkeypatch.setattr(envelope, "ENVELOPE_BYTES_MAX", len(whole) - 1)
    with pytest.raises(IntegrityError, match="larger"):
        disclose(whole, police.certificate, police.key)
