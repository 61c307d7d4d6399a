"""TLS: encrypted keys, certificates of clients, and renewed certificates."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from zoo.errors import InputError
from zoo.serving.tls import Tls


def openssl(*words: str | Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl isn't installed")
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def signed(folder: Path, name: str) -> Tls:
    """Write a certificate for localhost that signs itself, with its key."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    words = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}")
    openssl("req", *words, "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate)
    return Tls(certificate, key)


def connected(context: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """Connect to a server with a context, and return the certificate that it presents."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                try:
                    with context.wrap_socket(accepted, server_side=True) as encrypted:
                        encrypted.sendall(b"hello")
                except OSError:  # the handshake failed, which the client sees too
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as plain,
                client.wrap_socket(plain, server_hostname="localhost") as encrypted,
            ):
                assert encrypted.recv(5) == b"hello"  # with TLS 1.3, a refused client certificate shows only here
                return encrypted.getpeercert(binary_form=True) or b""
        finally:
            thread.join()


def test_a_certificate_is_served_and_renewed(tmp_path: Path) -> None:
    first, second = signed(tmp_path, "first"), signed(tmp_path, "second")
    context = first.context()
    client = ssl.create_default_context(cafile=first.certificate)
    served = connected(context, client)
    shutil.copy(second.certificate, first.certificate)
    with pytest.raises(InputError, match="can't be used with"):  # the key doesn't match yet
        first.renew(context)
    assert connected(context, client) == served
    assert first.private_key is not None
    assert second.private_key is not None
    shutil.copy(second.private_key, first.private_key)
    first.renew(context)
    assert connected(context, ssl.create_default_context(cafile=second.certificate)) != served


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    plain, locked, password = signed(tmp_path, "plain"), tmp_path / "locked.key", tmp_path / "password"
    password.write_text("a long secret\n")
    assert plain.private_key is not None
    openssl("pkcs8", "-topk8", "-in", plain.private_key, "-out", locked, "-passout", "pass:a long secret")
    Tls(plain.certificate, locked, password).context()
    with pytest.raises(InputError, match=r"is encrypted: pass --tls-key-password-file"):
        Tls(plain.certificate, locked).context()
    with pytest.raises(InputError, match=r"--tls-key-password-file .*missing can't be read: No such file"):
        Tls(plain.certificate, locked, tmp_path / "missing").context()
    password.write_text("wrong")
    with pytest.raises(InputError, match=r"is the password in .*password right"):
        Tls(plain.certificate, locked, password).context()


def test_clients_need_a_certificate_of_the_authority(tmp_path: Path) -> None:
    server, known, other = (signed(tmp_path, name) for name in ("server", "known", "other"))
    context = Tls(server.certificate, server.private_key, client_ca=known.certificate).context()
    client = ssl.create_default_context(cafile=server.certificate)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connected(context, client)
    client.load_cert_chain(other.certificate, other.private_key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connected(context, client)
    client = ssl.create_default_context(cafile=server.certificate)
    client.load_cert_chain(known.certificate, known.private_key)
    assert connected(context, client)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_files_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    server, wrong = signed(tmp_path, "server"), tmp_path / "wrong.pem"
    if content is not None:
        wrong.write_text(content)
    with pytest.raises(InputError, match=r"--tls-client-ca .*wrong.pem can't be used"):
        Tls(server.certificate, server.private_key, client_ca=wrong).context()
    with pytest.raises(InputError, match=r"--tls-certificate .*wrong.pem can't be used"):
        Tls(wrong).context()


def test_sighup_renews_the_certificate_and_logs_a_failure(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    from zoo.serving.server import _handle_signals

    tls, other = signed(tmp_path, "tls"), signed(tmp_path, "other")
    events: list[dict[str, Any]] = []
    handlers: dict[int, Callable[[], None]] = {}
    loop, pool, context = MagicMock(), MagicMock(), tls.context()
    loop.add_signal_handler, pool.log, pool.settings.tls = handlers.__setitem__, events.append, tls
    _handle_signals(loop, cast(Any, None), pool, context)
    shutil.copy(other.certificate, tls.certificate)
    handlers[signal.SIGHUP]()
    assert "can't be used with" in events[0]["error"]
    shutil.copy(other.private_key or "", tls.private_key or "")
    handlers[signal.SIGHUP]()
    assert len(events) == 1
    assert connected(context, ssl.create_default_context(cafile=other.certificate))
