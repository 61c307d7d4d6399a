"""Who may send requests: tokens, pages of other hosts, names of the server, and addresses behind a reverse proxy."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")


from tests.unit.serving.local import local, run


def test_the_token_is_required_except_for_the_state() -> None:
    async def test() -> None:
        async with local(token="0123456789abcdef") as server:
            for given in ("", "Bearer wrong", "Basic 0123456789abcdef", "Bearer é"):
                answer = await server.client.get("/v1/models", headers=[(b"authorization", given.encode())])
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            assert (await server.client.get("/v1/models", headers={"authorization": "Bearer 0123456789abcdef"})).status_code == 200
            for path in ("/healthz", "/readyz", "/", "/v2/health/live"):
                assert (await server.client.get(path)).status_code == 200

    run(test())


def test_pages_of_other_origins_are_refused_unless_allowed() -> None:
    async def test() -> None:
        other = {"origin": "https://elsewhere.org", "access-control-request-method": "POST"}
        async with local() as server:
            assert (await server.client.get("/v1/models", headers=other)).status_code == 403
            assert (await server.client.get("/v1/models", headers={"origin": "http://localhost:8000"})).status_code == 200
        async with local(cors_origins=("https://elsewhere.org",), token="0123456789abcdef") as server:
            answer = await server.client.options("/v1/models", headers=other)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == "https://elsewhere.org"

    run(test())


@pytest.mark.parametrize("prefix", ["", "/zoo"])
def test_a_reverse_proxy_may_remove_or_keep_the_root_path(prefix: str) -> None:
    async def test() -> None:
        async with local(root_path="/zoo", token="0123456789abcdef") as server:
            assert (await server.client.get(f"{prefix}/healthz")).status_code == 200
            right = {"authorization": "Bearer 0123456789abcdef"}
            assert (await server.client.get(f"{prefix}/v1/models", headers=right)).status_code == 200
            assert (await server.client.get(f"{prefix}/openapi.json", headers=right)).json()["servers"] == [{"url": "/zoo"}]

    run(test())


@pytest.mark.parametrize(
    ("settings", "known", "unknown"),
    [
        (
            {},
            ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.0.1", "[::1]:8000"),
            ("evil.example", "127.0.0.1.evil.example", "10.0.0.1"),
        ),
        ({"allow_hosts": ("zoo.example",)}, ("zoo.example", "Zoo.Example:443", "localhost"), ("evil.example", "a.zoo.example")),
        ({"allow_hosts": ("*",)}, ("evil.example",), ()),
        ({"host": "0.0.0.0"}, ("evil.example",), ()),
        ({"host": "0.0.0.0", "allow_hosts": ("zoo.example",)}, ("zoo.example", "127.0.0.1"), ("evil.example",)),
    ],
)
def test_only_known_host_names_are_answered(settings: dict[str, Any], known: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    """A page of another site could otherwise read answers after its name is resolved to 127.0.0.1 (DNS rebinding)."""

    async def test() -> None:
        async with local(**settings) as server:
            for host in known:
                assert (await server.client.get("/v1/models", headers={"host": host})).status_code == 200, host
            for host in unknown:
                refused = await server.client.get("/v1/models", headers={"host": host, "origin": f"http://{host}"})
                assert refused.status_code == 421
                assert "pass --allow-host" in refused.json()["error"]

    run(test())


def test_the_root_path_without_a_slash_is_redirected() -> None:
    async def test() -> None:
        async with local(root_path="/zoo") as server:
            answer = await server.client.get("/zoo")
            assert (answer.status_code, answer.headers["location"]) == (308, "/zoo/")

    run(test())
