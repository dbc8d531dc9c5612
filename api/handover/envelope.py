"""Envelopes that only one authority opens: CMS EnvelopedData for the RSA key of its certificate.

    content     AES-256 in CBC, a fresh key and initialisation vector each time
    recipient   one, RSA (PKCS #1 v1.5 key transport, what the library's builder offers), by issuer and serial number
    coding      DER; `openssl cms -decrypt -inform DER -inkey KEY -recip CERT` opens it without this program

An envelope keeps secrets and proves nothing: its content is not authenticated. What it carries is under the signature
of the delivery's manifest, made before, and whoever opens checks that before anything is used (`api.handover.opening`).

One envelope costs about two and a half times its content in memory for a moment; parts are cut small for it.

Source: RFC 5652 (section 6), RFC 3565 (AES in CMS), RFC 8933.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from schemas.errors import ConfigurationError, IntegrityError

ENVELOPE_BYTES_MAX: Final = 1 << 29


def load_certificate(pem: str | bytes) -> x509.Certificate:
    """Return a certificate of PEM.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii") if isinstance(pem, str) else pem)
    except (ValueError, UnicodeEncodeError):
        raise ConfigurationError("this is no X.509 certificate in PEM") from None


def load_private_key(pem: bytes, passphrase: bytes | None = None) -> RSAPrivateKey:
    """Return an RSA private key of PEM.

    Raises:
        ConfigurationError: it is none, or the passphrase is missing or wrong.
    """
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError):
        raise ConfigurationError("this is no private key in PEM, or its passphrase is another one") from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError("deliveries are opened with an RSA key")
    return key


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate (hex), as authorities print it beside it."""
    return certificate.fingerprint(SHA256()).hex()


def enclose(data: bytes, certificate: x509.Certificate) -> bytes:
    """Return a fresh envelope around `data` for a certificate of `api.people.authorities.encryption_certificate`."""
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(data).add_recipient(certificate)
    return builder.set_content_encryption_algorithm(AES256).encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def disclose(envelope: bytes, certificate: x509.Certificate, key: RSAPrivateKey) -> bytes:
    """Return what an envelope holds; nothing of it is authenticated yet.

    Raises:
        IntegrityError: it is no envelope, is damaged, or is for another key; which of them is not told.
    """
    if len(envelope) > ENVELOPE_BYTES_MAX:
        raise IntegrityError("the envelope is larger than envelopes are")
    try:
        return pkcs7.pkcs7_decrypt_der(envelope, certificate, key, [])
    except Exception as error:  # the parser raises what it likes on damaged input
        raise IntegrityError("the envelope does not open with this key") from error
