"""The `zoo serve` command."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from zoo.artefacts.encryption import ask_for_passphrase
from zoo.cli.flags import EngineFlags
from zoo.errors import InputError
from zoo.images.headers import MAX_PIXELS

if TYPE_CHECKING:
    from zoo.serving.settings import ServedModel
    from zoo.serving.tls import Tls

_PACKAGES = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")
Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class ServeFlags:
    """Serve models over HTTP: predictions, the Open Inference Protocol, and metrics. The address /docs lists the routes."""

    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [NAME=MODEL …]", help_behavior_hint="(required)")]
    """Folders of runs or models, or repositories of the Hub (hf:OWNER/NAME). NAME is part of the address /v1/models/NAME/predict; by
    default, it is the name of the folder or repository. A single model is also served as "default"."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but that of this machine requires --token-file, --tls-client-ca or --allow-unauthenticated."""
    port: int = 8000
    """Port to listen on; 0 chooses a free one."""
    gallery: Annotated[Repeated, tyro.conf.arg(metavar="[NAME[@MODEL]=]PLACE")] = ()
    """Face task only: gallery to identify, enrol and forget people, a file or postgresql://user@host/database. NAME is part of the address
    /v1/galleries/NAME/identify, by default "default"; MODEL is the name of a model, needed only if there are several."""
    engine: Annotated[EngineFlags, tyro.conf.arg(name="engine", help=""), tyro.conf.OmitArgPrefixes] = field(default_factory=EngineFlags)
    workers: int = 1
    """Number of processes that compute predictions. Each holds all models, and the processor's cores are divided among them."""
    max_batch: int | None = None
    """Maximum number of pictures that are computed together; by default based on the model's input size."""
    batch_wait_ms: float = 5.0
    """Maximum time that a picture waits for others that are being decoded, in milliseconds. No picture waits for requests that may come."""
    queue: int | None = None
    """Number of pictures waiting or being computed from which further requests are refused, with status 429; by default those of two
    batches of the model, at least 16 and at most 64, times --workers."""
    timeout: float = 30.0
    """Time limit of a request, in seconds. A request that takes longer is answered with status 503."""
    max_body_mb: float = 64.0
    """Maximum size of a request, in megabytes (2^20 bytes)."""
    max_pictures: int = 64
    """Maximum number of pictures in a request."""
    max_pixels: int = MAX_PIXELS
    """Maximum width × height of a picture; larger ones are rejected before decoding."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    exact: bool = False
    """Decode all pictures at full resolution. Otherwise, JPEGs much larger than the model's input are decoded at a reduced scale."""
    detector: str | None = None
    """Face task only: face detector, as in zoo predict."""
    faces: Literal["all", "largest", "central"] = "all"
    """Face task only: faces to process, as in zoo predict."""
    token_file: Path | None = None
    """File with a secret. Requests must then contain the header "Authorization: Bearer SECRET"."""
    allow_unauthenticated: bool = False
    """Serve everyone who can reach a public address."""
    cors_origin: Annotated[Repeated, tyro.conf.arg(metavar="ORIGIN")] = ()
    """Origin of web pages on other hosts that may send requests, such as https://example.org, or "*" for all; none by default."""
    root_path: str = ""
    """Path under which a reverse proxy publishes the server, such as /zoo."""
    allow_host: Annotated[Repeated, tyro.conf.arg(metavar="NAME")] = ()
    """Name under which the server is reached, such as example.org, or "*" for any. Without it, a server on an address of this machine
    accepts only this machine's names, so that pages of other sites can't reach it through their own names (DNS rebinding)."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM), to serve HTTPS."""
    tls_key: Path | None = None
    """Private key of the certificate (PEM), if it isn't in the same file."""
    tls_key_password_file: Path | None = None
    """File with the password of an encrypted private key."""
    tls_client_ca: Path | None = None
    """Certificates (PEM) of authorities: only clients with a certificate of one of them may connect."""


def run(flags: ServeFlags) -> int:
    """Run the command and return its exit status."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise InputError(f"zoo serve requires {', '.join(missing)}; install the extra: pip install 'resnet-zoo[serve]'")
    settings = _settings(flags)
    for model in settings.models:
        ask_for_passphrase(Path(model.folder).expanduser())  # a worker process has no terminal
    from zoo.serving.server import serve

    return serve(settings)


def _settings(flags: ServeFlags) -> Any:
    from zoo.serving.settings import Engine, Settings, parse_entries, parse_models, read_token

    models = [_calibrated(model, flags.engine) for model in parse_models(flags.models)]
    classes = services()
    galleries = parse_entries(flags.gallery, models, "--gallery")
    chosen = flags.engine
    engine = {name: getattr(chosen, name) for name in ("engine", "precision", "tune_seconds")}
    engine |= {name: getattr(flags, name) for name in ("device", "exact", "max_pixels", "detector", "faces")}
    same = ("host", "port", "workers", "max_batch", "batch_wait_ms", "queue", "timeout", "max_pictures")
    return Settings(
        models=models,
        engine=Engine(**engine),
        services={"galleries": galleries} if galleries else {},
        service_classes=classes,
        max_body=int(flags.max_body_mb * 2**20),
        token=read_token(flags.token_file, flags.host, flags.allow_unauthenticated or flags.tls_client_ca is not None),
        cors_origins=flags.cors_origin,
        allow_hosts=flags.allow_host,
        root_path=flags.root_path.rstrip("/"),
        tls=_tls(flags),
        **{name: getattr(flags, name) for name in same},
    )


def _tls(flags: ServeFlags) -> Tls | None:
    """Return the files of TLS; None for plain HTTP."""
    from zoo.serving.tls import Tls

    if flags.tls_certificate is not None:
        return Tls(flags.tls_certificate, flags.tls_key, flags.tls_key_password_file, flags.tls_client_ca)
    for name in ("tls_key", "tls_key_password_file", "tls_client_ca"):
        if getattr(flags, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} requires --tls-certificate, which is not set")
    return None


def _calibrated(model: ServedModel, flags: EngineFlags) -> ServedModel:
    """Return a model with the images for its calibration."""
    if not flags.calibration:
        return model
    if flags.engine == "eager" and flags.precision != "int8":
        raise InputError("--calibration requires --engine, which is not set")
    from zoo.cli.heads import calibration_data
    from zoo.models.config import model_folder, read_description

    heads = read_description(model_folder(model.folder))[0].heads
    return replace(model, calibration=calibration_data(flags.calibration, [*heads]))


def services() -> dict[str, str]:
    """Return the class of each kind of service that task packages define as `SERVICES`."""
    import zoo.tasks

    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(zoo.tasks.__path__):
        found |= getattr(import_module(f"zoo.tasks.{module.name}"), "SERVICES", {})
    return found
