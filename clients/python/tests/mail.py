"""A real SMTP server (aiosmtpd) with STARTTLS and a password, for `mail/send`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from celeriac.testing.process import free_port

PASSWORD = "open sesame"


class MailServer(Controller):
    """Runs on a thread. `envelopes` is what it has taken."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.authority = authority.cert_pem.bytes().decode()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.directory = directory
        self.envelopes: list[Envelope] = []
        super().__init__(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=self.authenticate,
        )

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        is_right = (data.login, data.password) == (b"user", PASSWORD.encode())
        return AuthResult(success=is_right, handled=is_right)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        self.envelopes.append(envelope)
        return "250 taken"

    def settings(self) -> Path:
        """A settings file that grants the module `mail` this server."""
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        file = self.directory / "celeriac.toml"
        file.write_text(
            f"""
[grants."mail"]
tcp = [{{ host = "localhost", port = {self.port}, networks = ["127.0.0.0/8", "::1/128"] }}]
secrets = {{ smtp-password = {{ file = "{password}" }} }}
config = {{ SMTP_HOST = "localhost", SMTP_PORT = "{self.port}", SMTP_USER = "user", SMTP_CA = \"\"\"
{self.authority}\"\"\" }}
"""
        )
        return file
