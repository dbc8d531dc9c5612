"""Keys on an authority's side: a pair that opens deliveries with its certificate, and a signing key.

An authority with certificates of its own needs none of this.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from api.people.authorities import CERTIFICATE_CHARS_MAX, RSA_BITS_MIN
from api.people.signing import PersonKey, write_key_file, write_private_file
from schemas.errors import ConfigurationError

CERTIFICATE_DAYS: Final = 730


def make(authority_id: str, folder: Path, now_us: int, passphrase: bytes | None = None) -> dict[str, Any]:
    """Write FOLDER/ID.pem (RSA, 0600), ID.crt and ID.key.json (Ed25519, 0600); return what registration takes.

    Raises:
        ConfigurationError: a file is there already, or the folder is not.
    """
    private = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS_MIN)
    signing = PersonKey.generate(authority_id)
    paths = [folder / f"{authority_id}{ending}" for ending in (".pem", ".crt", ".key.json")]
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    write_private_file(paths[0], private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    write_private_file(paths[1], _certificate(authority_id, private, now_us).public_bytes(Encoding.PEM))
    write_key_file(paths[2], signing, passphrase)
    return {
        "id": authority_id,
        "private_key": str(paths[0]),
        "certificate": str(paths[1]),
        "signing_key_file": str(paths[2]),
        "signing_key": signing.public_text,
    }


def read_text(path: Path) -> str:
    """Return a PEM file's text.

    Raises:
        ConfigurationError: it cannot be read, or is longer than a certificate.
    """
    try:
        with path.open("rb") as file:
            content = file.read(CERTIFICATE_CHARS_MAX + 1)
        if len(content) > CERTIFICATE_CHARS_MAX:
            raise ConfigurationError("the file is longer than a certificate")
        return content.decode("ascii")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("a certificate's file cannot be read as PEM") from None


def fingerprint_of(text: str) -> str:
    """Return the SHA-256 (hex) of a client certificate in PEM.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(text.encode("ascii"))
    except ValueError:
        raise ConfigurationError("this is not an X.509 certificate in PEM") from None
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _certificate(authority_id: str, private: rsa.RSAPrivateKey, now_us: int) -> x509.Certificate:
    now = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority_id)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(usage, critical=True)
        .sign(private, hashes.SHA256())
    )
