"""An authority's side, made for tests: a certificate and its private key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

FROM = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Side:
    """A certificate with its key, both also as PEM."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@cache
def rsa_key(name: str, bits: int = 3072) -> rsa.RSAPrivateKey:
    """Return one key per name: making one takes longer than a test should."""
    return rsa.generate_private_key(65537, bits)


@cache
def side(name: str = "police", bits: int = 3072, *, days: int = 9_000, enciphers: bool | None = True) -> Side:
    key = rsa_key(name, bits)
    return Side(certified(key, name, days=days, enciphers=enciphers), key)


def certified(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str, *, days: int = 9_000, enciphers: bool | None = True
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(FROM + timedelta(days=days))
    )
    if enciphers is not None:
        usage = x509.KeyUsage(
            digital_signature=not enciphers,
            content_commitment=False,
            key_encipherment=enciphers,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256())
