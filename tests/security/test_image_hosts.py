"""Images by their address: from listed hosts alone, never from a private address, whatever a
name leads to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api.http.public_addresses import is_public
from api.images import fetch
from api.images.fetch import AT_ONCE
from api.images.intake import ImageIntake
from api.images.urls import TOO_LARGE
from tests.support import picture_files as files
from tests.support.api_support import FakeWorker, announce, chat_body
from tests.support.fake_api import fake_api, fake_redis
from tests.support.image_support import CHAT, ImageApi, body
from tests.support.web_support import PICTURE, PUBLIC, PUBLIC_6, Web, found
from wire.settings import Settings

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:93.184.215.14", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::5db8:d70e", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::1", "2001:0:5ef5:79fd::1",
    "", "localhost", "2130706433", "0x7f.1", "127.1",
]  # fmt: skip


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_never_connected_to(web: Web, address: str) -> None:
    assert not is_public(address)
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC], [PUBLIC_6, PUBLIC, address]):
        web.addresses = addresses
        refused = web.refused("https://images.example/a.png")
        assert (refused.code, "not public" in refused.message) == ("invalid_image", True)
    assert web.requested == []


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6, "1.1.1.1", "2a00:1450:4001:82a::200e"])
def test_a_public_address_is(web: Web, address: str) -> None:
    web.addresses = [address]
    assert web.fetch("https://images.example/a/b.png?c=d#e") == PICTURE
    [request] = web.requested
    assert request.url.host == address
    assert request.url.raw_path == b"/a/b.png?c=d"
    assert request.headers["host"] == "images.example"
    # The certificate must be for this name.
    assert request.extensions["sni_hostname"] == "images.example"


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_judged(web: Web) -> None:
    async def rebinding(host: str) -> list[str]:
        web.resolved.append(host)
        return [PUBLIC] if len(web.resolved) == 1 else ["127.0.0.1"]

    web.resolve = rebinding  # type: ignore[method-assign]
    assert web.fetch("https://images.example/a.png") == PICTURE
    assert web.resolved == ["images.example"]
    assert [request.url.host for request in web.requested] == [PUBLIC]


def test_where_one_address_does_not_answer_the_next_is_asked(web: Web) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == PUBLIC_6:
            raise httpx2.ConnectError("no route")
        return found(PICTURE)

    web.addresses, web.answer = [PUBLIC_6, PUBLIC], answer
    assert web.fetch("https://images.example/a.png") == PICTURE
    assert web.resolved == ["images.example"]


@pytest.mark.parametrize(
    "url",
    ["https://images.example", "HTTPS://IMAGES.EXAMPLE/a", "https://images.example:443/a", "https://images.example./a",
     "https://images.example?a", "https://a.cdn.example/a", "https://a.b.cdn.example/%2e%2e/a"],
)  # fmt: skip
def test_listed_hosts_are_asked(web: Web, url: str) -> None:
    assert web.fetch(url) == PICTURE


@pytest.mark.parametrize(
    "url",
    ["http://images.example/a", "https://other.example/a", "https://images.example.evil.example/a",
     "https://evilimages.example/a", "https://cdn.example/a", "https://evilcdn.example/a",
     "https://images.example@evil.example/a", "https://user:word@images.example/a", "https://images.example:8443/a",
     "https://images.example:0443/a", "https://evil.example\\@images.example/a", "https://images.example\\.evil.example",
     "https://[::1]/a", "https://127.0.0.1/a", "https:///a", "https://images.example /a", "https://images.example\n/a",
     "https://images.example/\xe9", "https://im\xe4ges.example/a", "https://images.example%2eevil.example/a",
     "https://" + "a" * 300 + ".cdn.example/a", "https://images.example/" + "a" * 3000, "https:images.example/a"],
)  # fmt: skip
def test_any_other_address_is_refused_by_name_and_not_looked_up(web: Web, url: str) -> None:
    assert web.refused(url).code == "unsupported"
    assert (web.resolved, web.requested) == ([], [])


def test_a_listed_address_is_judged_like_any_other(web: Web) -> None:
    web.addresses = ["10.0.0.1"]
    assert "not public" in web.refused("https://10.0.0.1/a", "10.0.0.1").message


@pytest.mark.parametrize(
    "place", ["https://images.example/b", "http://127.0.0.1/", "/b", "file:///etc/passwd"]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(web: Web, place: str, status: int) -> None:
    web.answer = lambda _: httpx2.Response(status, headers={"location": place})
    assert "redirect" in web.refused("https://images.example/a").message
    assert len(web.requested) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx2.Response(404, content=b"canary"), "404"),
        (httpx2.Response(204), "204"),
        (httpx2.Response(200, headers={"content-encoding": "gzip"}, content=b""), "compressed"),
    ],
)
def test_what_is_no_image_is_refused_without_a_word_of_it(
    web: Web, answer: httpx2.Response, says: str
) -> None:
    web.answer = lambda _: answer
    refused = web.refused("https://images.example/a")
    assert says in refused.message
    assert "canary" not in refused.message


@pytest.mark.parametrize(
    "error", [httpx2.ConnectError("canary"), httpx2.ReadError("canary"), httpx2.ReadTimeout("x")]
)
def test_a_host_that_fails_is_an_image_that_could_not_be_fetched(
    web: Web, error: Exception
) -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise error

    web.answer = answer
    assert (
        web.refused("https://images.example/a").message
        == "An image could not be fetched from its address."
    )


@pytest.mark.parametrize("error", [OSError("canary"), UnicodeError("label too long")])
def test_a_name_that_leads_nowhere_is_refused(web: Web, error: Exception) -> None:
    async def nowhere(host: str) -> list[str]:
        web.resolved.append(host)
        raise error

    web.resolve = nowhere  # type: ignore[method-assign]
    assert "could not be found" in web.refused("https://images.example/a").message


def test_an_image_without_end_is_cut_at_20_mb(web: Web) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 20
            yield bytes(1 << 20)

    web.answer = lambda _: httpx2.Response(200, content=endless())
    assert "20 MB" in web.refused("https://images.example/a").message
    assert sent <= TOO_LARGE + (2 << 20)


def test_a_host_that_takes_too_long_is_left(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FETCH_S", 0.05)
    never = asyncio.Event()

    async def dribbling() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    async def silent(_: httpx2.Request) -> httpx2.Response:
        await never.wait()
        return httpx2.Response(200)

    for answer in (silent, lambda _: httpx2.Response(200, content=dribbling())):
        web.answer = answer
        refused = web.refused("https://images.example/a")
        assert "too long" in refused.message or "20 MB" in refused.message


def test_few_images_are_fetched_at_once(web: Web) -> None:
    at_once = most = 0

    async def counting(_: httpx2.Request) -> httpx2.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return found(PICTURE)

    async def all_of_them() -> None:
        web.answer = counting
        fetcher = web.fetcher("images.example")

        async def one() -> None:
            async with fetcher.fetched("https://images.example/a"):
                pass

        await asyncio.gather(*(one() for _ in range(3 * AT_ONCE)))

    asyncio.run(all_of_them())
    assert most == AT_ONCE


# --- in a chat ------------------------------------------------------------------------------------


@pytest.fixture
def chats(web: Web) -> Iterator[ImageApi]:
    redis = fake_redis()
    announce(redis)
    settings = Settings(image_hosts=("images.example",))
    app = fake_api(redis, settings)
    with TestClient(app) as client, FakeWorker(redis).running() as worker:
        images: Any = app.state.services[ImageIntake]
        images._fetcher = web.fetcher(*settings.image_hosts)
        yield ImageApi(client, worker, redis)


def test_a_fetched_image_goes_the_way_of_any_other(web: Web, chats: ImageApi) -> None:
    inline = files.url(PICTURE)
    [first, second, third] = chats.messages(
        body("https://images.example/a", inline, "https://images.example/a")
    )[0].images()
    assert first == second == third
    assert chats.picture(first).size == (4, 2)
    assert len(web.requested) == 1


def test_what_is_fetched_is_judged_by_its_bytes(web: Web, chats: ImageApi) -> None:
    web.answer = lambda _: found(b"<svg/>", {"content-type": "image/png"})
    assert "not a PNG" in chats.refused("https://images.example/a")


def test_nothing_is_fetched_for_a_request_with_an_address_that_is_refused(
    web: Web, chats: ImageApi
) -> None:
    asked = body("https://images.example/a", "https://other.example/a")
    answer = chats.client.post(CHAT, json=asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "unsupported")
    assert answer.json()["errors"] == ["body -> messages -> 0 -> content -> 2 -> image_url"]
    assert web.resolved == []


def test_too_many_images_are_refused_before_the_first_is_fetched(web: Web, chats: ImageApi) -> None:
    asked = body(*[f"https://images.example/{number}" for number in range(17)])
    assert chats.client.post(CHAT, json=asked).status_code == 422
    assert web.resolved == []


def test_no_request_is_made_of_a_text(web: Web, chats: ImageApi) -> None:
    message = {"role": "user", "content": "https://images.example/a"}
    assert chats.client.post(CHAT, json=chat_body(messages=[message])).status_code == 200
    assert web.resolved == []
