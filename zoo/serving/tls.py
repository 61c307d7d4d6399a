"""TLS of the server: its certificate and key, and certificates of clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import InputError


@dataclass(frozen=True)
class Tls:
    """Files of the server's TLS.

    Attributes:
        certificate: certificate chain (PEM).
        private_key: private key (PEM); None if it is in `certificate`.
        password_file: file with the password of an encrypted key; None if it isn't encrypted.
        client_ca: certificates (PEM) of the authorities whose client certificates are accepted; None to require no certificate of clients.
    """

    certificate: Path
    private_key: Path | None = None
    password_file: Path | None = None
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for TLS 1.2 and later.

        Raises:
            InputError: a file can't be read, or the files don't belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise InputError(f"--tls-client-ca {self.client_ca} can't be used: {error}; expected certificates in PEM format") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def renew(self, context: ssl.SSLContext) -> None:
        """Read the certificate and key again, for new connections. The context keeps the present ones if they can't be used.

        Raises:
            InputError: as in `context`.
        """
        self.context()  # a failure half-way would leave the context with a certificate that doesn't match its key
        self._load(context)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self.certificate, self.private_key, self._password)
        except (OSError, ssl.SSLError) as error:
            key = self.private_key or "the key in the same file"
            wrong = f"; is the password in {self.password_file} right?" if self.password_file else ""
            raise InputError(f"--tls-certificate {self.certificate} can't be used with {key}: {error}{wrong}") from error

    def _password(self) -> bytes:
        """Return the password of the key. OpenSSL calls this only if the key is encrypted, and would otherwise ask on the terminal."""
        if self.password_file is None:
            raise InputError(f"the key {self.private_key or self.certificate} is encrypted: pass --tls-key-password-file FILE")
        try:
            return self.password_file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise InputError(f"--tls-key-password-file {self.password_file} can't be read: {error.strerror}") from error
