"""Settings of the server and of its worker processes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zoo.artefacts import identities
from zoo.artefacts.encryption import SUFFIX
from zoo.artefacts.hub.reference import Reference, is_reference
from zoo.artefacts.trust import current
from zoo.errors import InputError, check_positive
from zoo.images.headers import MAX_PIXELS
from zoo.serving.tls import Tls
from zoo.system.precision import AskedPrecision

DEFAULT = "default"  # further name of the only model, or of the only gallery
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class ServedModel:
    """A model to serve.

    Attributes:
        name: name in URLs.
        folder: folder of a run or model, or a repository of the Hub.
        calibration: images for calibrating int8 and for comparing the compiled model, as `zoo.compile` takes them; None for built-in ones.
    """

    name: str
    folder: str
    calibration: str | dict[str, str] | None = None


@dataclass(frozen=True)
class ServiceEntry:
    """Something that a task's service works on, such as a gallery of faces.

    Attributes:
        name: name in URLs.
        place: path or address, as the service expects it.
        model: name of the model that computes the predictions.
    """

    name: str
    place: str
    model: str


@dataclass(frozen=True)
class Engine:
    """How the models are run; the attributes are those of `zoo.compile` and `zoo.predict`."""

    engine: str = "eager"
    precision: AskedPrecision = "auto"
    tune_seconds: float = 20.0
    device: str = "auto"
    exact: bool = False
    max_pixels: int = MAX_PIXELS
    detector: str | None = None
    faces: str = "all"


@dataclass(frozen=True)
class Settings:
    """All settings of a server.

    Attributes:
        models: the models, each under a different name.
        engine: how the models are run.
        services: what the services of tasks work on, by kind ("galleries") and name.
        service_classes: class of each kind of service, as "module:name".
        host: address to listen on.
        port: port to listen on; 0 for a free one.
        workers: number of worker processes, each of which holds all models.
        max_batch: maximum number of pictures that are computed together; None for the default of `zoo.predict`.
        batch_wait_ms: how long a picture that is ready may wait for pictures that are still being decoded, in milliseconds.
        queue: number of pictures waiting or being computed from which further requests are refused; None for the default of `Pool.limit`.
        timeout: time limit of a request in seconds.
        max_body: maximum size of a request's body in bytes.
        max_pictures: maximum number of pictures in a request.
        token: secret that requests must contain; None for no authentication.
        cors_origins: origins of web pages on other hosts that may send requests.
        root_path: path under which a reverse proxy publishes the server.
        allow_hosts: further names under which the server is reached, or "*" for all names; see `hosts`.
        tls: files of TLS; None for plain HTTP.
    """

    models: Sequence[ServedModel]
    engine: Engine = Engine()
    services: Mapping[str, Sequence[ServiceEntry]] = field(default_factory=dict)
    service_classes: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    max_batch: int | None = None
    batch_wait_ms: float = 5.0
    queue: int | None = None
    timeout: float = 30.0
    max_body: int = 64 * 2**20
    max_pictures: int = 64
    token: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()
    root_path: str = ""
    allow_hosts: tuple[str, ...] = ()
    tls: Tls | None = None

    def __post_init__(self) -> None:
        counts = {"workers": self.workers, "timeout": self.timeout, "max_body": self.max_body}
        chosen = {"queue": self.queue, "max_batch": self.max_batch}
        check_positive("serve", **counts, **{name: value for name, value in chosen.items() if value is not None})
        if self.batch_wait_ms < 0:
            raise InputError(f"serve: batch_wait_ms is {self.batch_wait_ms}; expected 0 or more")
        if not 0 <= self.port <= 65535:
            raise InputError(f"serve: port is {self.port}; expected 0 to 65535")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise InputError(f"serve: root_path is {self.root_path!r}; expected a path that begins with a slash and doesn't end with one")

    @property
    def names(self) -> dict[str, str]:
        """Model by each of its names in URLs, including `DEFAULT` if there is a single model."""
        found = {model.name: model.name for model in self.models}
        return found if len(found) > 1 else {DEFAULT: self.models[0].name, **found}

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """Names that the header `Host` may have beside those of this machine; None if it may have any.

        A page of another site can have its name resolved to 127.0.0.1 (DNS rebinding), so that the browser takes the server for that site.
        A server on a public address has a token, which such a page lacks, and doesn't know all of its names.
        """
        if "*" in self.allow_hosts or not (self.allow_hosts or is_loopback(self.host)):
            return None
        return tuple(name.lower().strip("[]") for name in (self.host, *self.allow_hosts))


def parse_models(words: Sequence[str]) -> tuple[ServedModel, ...]:
    """Return the models of the arguments "MODEL" and "NAME=MODEL". A model without a name has that of its folder, or of its encrypted file.

    Raises:
        InputError: no model was passed, a name is invalid, or two models have the same name.
    """
    found: dict[str, ServedModel] = {}
    for word in words:
        name, path = _named(word)
        if name is None:
            name = Reference.parse(path).name if is_reference(path) else _folder_name(Path(path))
            if len(words) == 1 and not _NAME.fullmatch(name):
                name = DEFAULT
        if not _NAME.fullmatch(name):
            raise InputError(f"the model {path} has the name {name!r}; pass NAME={path} with a name of letters, digits, '.', '_' and '-'")
        if name in found:
            raise InputError(f"two models have the name {name!r}: {found[name].folder} and {path}; pass NAME=MODEL with different names")
        found[name] = ServedModel(name, path)
    if not found:
        raise InputError(
            "no model given; usage: zoo serve MODEL [NAME=MODEL …], where MODEL is the folder of a run or model, or hf:OWNER/NAME"
        )
    return tuple(found.values())


def _named(word: str) -> tuple[str | None, str]:
    """Return the name, if there is one, and the rest of an argument NAME=REST. An existing path isn't split."""
    name, equals, path = word.partition("=")
    return (None, word) if not equals or "/" in name or Path(word).exists() else (name, path)


def _folder_name(folder: Path) -> str:
    whole = folder.resolve()
    return whole.parent.name if whole.name == "model" else whole.name.removesuffix(SUFFIX)


def parse_entries(words: Sequence[str], models: Sequence[ServedModel], flag: str) -> tuple[ServiceEntry, ...]:
    """Return the entries of the arguments "PLACE", "NAME=PLACE" and "NAME@MODEL=PLACE" of a flag.

    Raises:
        InputError: a name is invalid or occurs twice, or a model is unknown or missing.
    """
    known, found = [model.name for model in models], dict[str, ServiceEntry]()
    for word in words:
        left, place = _named(word)
        name, _, model = (left or DEFAULT).partition("@")
        if not model and len(known) > 1:
            raise InputError(f"{flag} {word}: several models are served; pass NAME@MODEL=PLACE with one of {', '.join(known)}")
        if model and model not in known:
            raise InputError(f"{flag} {word}: there is no model {model!r}; expected one of {', '.join(known)}")
        if not _NAME.fullmatch(name):
            raise InputError(f"{flag} {word}: the name is {name!r}; expected letters, digits, '.', '_' and '-'")
        if name in found:
            raise InputError(f"{flag}: the name {name!r} occurs twice: {found[name].place} and {place}")
        found[name] = ServiceEntry(name, place, model or known[0])
    return tuple(found.values())


def read_token(file: Path | None, host: str, allow_unauthenticated: bool) -> str | None:
    """Return the token in a file. Without a file, only this machine may connect unless `allow_unauthenticated`.

    Raises:
        InputError: the file can't be read or contains no usable token, or the address is public and there is no token.
    """
    if file is None:
        if not allow_unauthenticated and not is_loopback(host):
            raise InputError(
                f"--host {host} is reachable from other machines: pass --token-file FILE with a secret that requests must contain, "
                "--tls-client-ca FILE to require certificates, or --allow-unauthenticated to serve everyone"
            )
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise InputError(
            f"--token-file {file} can't be read: {reason}. Create it with: (umask 077; openssl rand -hex 32 > {file})"
        ) from error
    if len(token) < 16 or not re.fullmatch(r"[!-~]+", token):
        raise InputError(f"--token-file {file}: expected one line of 16 or more visible ASCII characters, such as: openssl rand -hex 32")
    return token


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def worker_spec(settings: Settings, prepared: Path) -> dict[str, Any]:
    """Return what a worker process needs to know, as JSON-compatible values.

    Args:
        settings: settings of the server.
        prepared: folder in which workers share compiled models.
    """
    return {
        "models": [asdict(model) for model in settings.models],
        "engine": asdict(settings.engine),
        "services": {kind: [asdict(entry) for entry in entries] for kind, entries in settings.services.items()},
        "service_classes": dict(settings.service_classes),
        "max_batch": settings.max_batch,
        "batch_wait_ms": settings.batch_wait_ms,
        "prepared": str(prepared),
        "trust": current().to_dict(),
        "keys": identities.current().to_dict(),  # secret: sent through the socket pair only
    }
