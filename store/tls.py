"""What our clients ask of a server's certificate: the same on every version of Python.

Source: RFC 5280, 4.2.1.1 and 6.1; what `ssl.create_default_context` sets since Python 3.13.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca: Path | str | None) -> ssl.SSLContext:
    """Return a context that verifies a server's chain and name by the authorities of a PEM file; None: the machine's.

    Python 3.13 has begun to refuse certificates for their form: those without the identifier of their issuer's key,
    authorities without a key usage. Such are many of companies' own, and those that `openssl req -x509` makes: an agent
    that worked would be shut out by an upgrade of its host. Form is not asked for. What the file names is trusted as
    it stands, an authority below another one or the server's own certificate, too; Python before 3.13 asks for a root.

    Raises:
        OSError: the file cannot be read, or holds no certificate (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
