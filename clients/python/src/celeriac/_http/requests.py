"""Requests to the gateway: the token, the errors, and one more try where a connection breaks and that is harmless."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from ..errors import BrokerUnavailable, BrokerUnfit, CeleriacError
from ..transport import small_patience
from . import problem, tls

#: The id and the task that a request is about.
About = tuple[str, str]

#: How long the gateway may be silent within one answer, in seconds.
RESPONSE_TIMEOUT = 30.0

#: How long a request may take that carries much, in seconds: enough for 16 MiB on a slow line.
LONG = 2 * RESPONSE_TIMEOUT

#: What says that the connection broke: often one that was kept, and that the other side had closed.
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)

#: What says that the request has not left.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

#: What OpenSSL says of an answer that is not TLS, by its version.
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "record layer failure")

#: Told of a request that must not be sent twice.
PERHAPS_DONE = "what was asked for may have been done all the same: look before you ask again"


class Requests:
    """Sends requests of one process."""

    def __init__(self, url: str, connect_timeout: float, token: str | None) -> None:
        where = httpx.URL(url)
        self.address = f"{where.scheme}://{where.netloc.decode().rpartition('@')[2]}{where.path.rstrip('/')}"
        self.connect_timeout = connect_timeout
        self._patience = small_patience(connect_timeout)
        #: Whether an HTTP server has ever answered there.
        self._has_answered = False
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(RESPONSE_TIMEOUT, connect=connect_timeout)
        verify = tls.context(where) if where.scheme == "https" else False
        # Proxies and credentials come from the caller alone, as for Redis.
        self.http = httpx.AsyncClient(
            base_url=self.address, headers=headers, timeout=timeout, verify=verify, trust_env=False
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        about: About = ("", ""),
        is_repeatable: bool = True,
        patience: float | None = None,
        **options: Any,
    ) -> httpx.Response:
        """The answer, or what went wrong; `about` is the id and the task that the request is about.

        What is repeatable is sent once more when its connection breaks: done twice it is as good as done once.
        `patience` in seconds, else that of small requests.
        """
        patience = patience or self._patience
        try:
            sending = self._send(method, path, is_repeatable=is_repeatable, **options)
            response = await asyncio.wait_for(sending, patience)
        except httpx.TransportError as error:
            raise self.lost(error, is_repeatable=is_repeatable) from error
        except asyncio.TimeoutError:
            late = httpx.ReadTimeout(f"no answer within {patience:g} s")
            raise self.lost(late, is_repeatable=is_repeatable) from None
        self._has_answered = True
        if response.is_error:
            raise failure(response, self.address, about)
        return response

    async def _send(self, method: str, path: str, *, is_repeatable: bool, **options: Any) -> httpx.Response:
        try:
            return await self.http.request(method, path, **options)
        except BROKEN:
            if not is_repeatable:
                raise
        response = await self.http.request(method, path, **options)
        if method == "DELETE" and response.status_code == httpx.codes.NOT_FOUND:
            # The first request has removed it, and its answer was lost.
            return httpx.Response(httpx.codes.NO_CONTENT, request=response.request)
        return response

    def lost(self, error: httpx.TransportError, *, is_repeatable: bool = True) -> CeleriacError:
        """What it means that there is no answer."""
        reason = str(error) or type(error).__name__
        if "certificate verify failed" in reason:
            remedy = f"name the authority that certified it: https://HOST/?{tls.AUTHORITY}=FILE, or SSL_CERT_FILE"
            return BrokerUnfit(self.address, reason, remedy)
        host = self.address.partition("//")[2]
        if any(word in reason for word in NO_TLS):
            return BrokerUnfit(self.address, f"it does not speak TLS ({reason})", f"write http://{host}")
        if isinstance(error, httpx.RemoteProtocolError) and not self._has_answered:
            # As Redis does with HTTP; but a host that ends, too.
            reason += f" If that is a Redis, write redis://{host}"
        if not (is_repeatable or isinstance(error, NOT_SENT)):
            reason += f"; {PERHAPS_DONE}"
        return BrokerUnavailable(self.address, reason)

    async def get(self, path: str, **options: Any) -> Any:
        """The JSON document at a path."""
        return (await self.send("GET", path, **options)).json()

    async def post(self, path: str, body: bytes, **options: Any) -> Any:
        """The JSON answer to a JSON document."""
        headers = {"Content-Type": "application/json"}
        return (await self.send("POST", path, content=body, headers=headers, **options)).json()

    async def close(self) -> None:
        """Closes every connection."""
        await self.http.aclose()


def failure(response: httpx.Response, address: str, about: About = ("", "")) -> CeleriacError:
    """What an answer that is an error means."""
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if not isinstance(document, dict) or "code" not in document:
        # Something between here and the gateway has answered.
        if response.status_code in (502, 503, 504):
            return BrokerUnavailable(address, f"{response.status_code} {response.reason_phrase}")
        return CeleriacError(f"{address} has answered {response.status_code}, and not as the gateway does")
    return problem.exception(document, address, id=about[0], task=about[1])
