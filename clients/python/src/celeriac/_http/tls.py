"""Whom a client trusts to say who a gateway is."""

from __future__ import annotations

import os
import ssl

import httpx

from ..errors import InvalidArgument

#: The parameter of a URL that names the authority, as in `rediss://…`.
AUTHORITY = "ssl_ca_certs"

#: The variables that name authorities, as OpenSSL and all that uses it know them.
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def context(url: httpx.URL) -> ssl.SSLContext:
    """The authority that the URL names; else those of the environment; else those of the system and of httpx."""
    authority = url.params.get(AUTHORITY)
    if authority is not None:
        try:
            return ssl.create_default_context(cafile=authority)
        except OSError as error:
            expected = f"a file of certificates in PEM ({error})"
            raise InvalidArgument(AUTHORITY, authority, expected) from error
    if any(os.environ.get(name) for name in VARIABLES):
        return ssl.create_default_context()
    trusted = httpx.create_ssl_context(trust_env=False)
    # Some systems keep theirs where OpenSSL does not look: then those of httpx are there.
    trusted.load_default_certs()
    return trusted
