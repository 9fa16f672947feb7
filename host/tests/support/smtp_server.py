"""An SMTP server (aiosmtpd) with STARTTLS and AUTH for tests. Says its port, then each message as a line of JSON.

smtp_server.py CERTIFICATE KEY starttls|implicit
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import AuthResult, SMTP


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        record = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode(),
            "is_tls": session.ssl is not None or mode == "implicit",
        }
        print(json.dumps(record), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    is_right = (data.login, data.password) == (b"user", b"open sesame")
    # Not handled: the server itself answers that it was wrong.
    return AuthResult(success=is_right, handled=is_right)


certificate, key, mode = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
settings = {
    "authenticator": authenticate,
    "auth_required": True,
    "auth_require_tls": mode == "starttls",
}


async def main():
    loop = asyncio.get_running_loop()
    tls = {"tls_context": context, "require_starttls": True} if mode == "starttls" else {}
    server = await loop.create_server(
        lambda: SMTP(Handler(), loop=loop, hostname="localhost", **settings, **tls),
        host="127.0.0.1",
        port=0,
        ssl=context if mode == "implicit" else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # Until whoever started this is gone.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
