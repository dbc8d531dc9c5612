"""Where an authority takes deliveries that are pushed: its URL, who must answer there, and as whom we come. Pure.

    endpoint          https, without password, query or fragment; nothing of a case is ever added to it
    endpoint_ca       the certificate in which the server's chain has to end: a CA's, or the server's own; no other is
                      trusted, and the server's name has to be the URL's
    endpoint_client   the certificate that we present, for the store's own key (`api.disclosure.push_key`); without it
                      the store's self-signed one

Source: RFC 9110 section 4.2.2 (https), RFC 5280, RFC 8446 section 4.4.2 (certificates of both sides).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.settings import is_safe_url
from schemas.errors import ConfigurationError

CERTIFICATE_CHARS_MAX: Final = 16_384


def check_endpoint(endpoint: str | None, ca: str | None, client: str | None) -> tuple[str | None, str | None]:
    """Return both certificates as they are signed and stored (DER, base64).

    Raises:
        ConfigurationError: a form is wrong, an endpoint without `ca`, or a certificate without an endpoint.
    """
    if endpoint is None:
        if ca is not None or client is not None:
            raise ConfigurationError("certificates of an endpoint come with the endpoint")
        return None, None
    if not is_safe_url(endpoint) or urlsplit(endpoint).scheme != "https" or urlsplit(endpoint).query:
        raise ConfigurationError("an endpoint is an https URL without a password and a query")
    if ca is None:
        raise ConfigurationError("an endpoint comes with the certificate in which its server's chain ends")
    return parse(ca), None if client is None else parse(client)


def parse(text: str) -> str:
    """Return the DER (base64) of a certificate in PEM or base64.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        if len(text) > CERTIFICATE_CHARS_MAX:
            raise ValueError
        is_pem = "-----BEGIN" in text
        load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
        found = load(text.encode("ascii") if is_pem else b64decode(text, validate=True))
        found.public_key()
    except Exception:  # the parser raises many kinds
        raise ConfigurationError("this is not an X.509 certificate in PEM or base64") from None
    return b64encode(found.public_bytes(Encoding.DER)).decode("ascii")


def public_key_of(certificate: str) -> bytes:
    """Return the public key (SubjectPublicKeyInfo, DER) of a certificate in base64."""
    key = x509.load_der_x509_certificate(b64decode(certificate)).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
