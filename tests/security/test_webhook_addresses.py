"""Webhooks go to public addresses alone, whatever a name leads to, unless the operator lists the
host."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from api.errors import ApiError
from api.http.host_names import HostNames
from api.webhooks.sender import NotSent, Sender
from tests.security.test_image_hosts import PRIVATE
from tests.support.web_support import PUBLIC, PUBLIC_6, Web

URL = "https://hook.example:8443/a?b=c"


@pytest.fixture
def web() -> Web:
    web = Web()
    web.answer = lambda _: httpx2.Response(200)
    return web


def sender(web: Web, *private: str) -> Sender:
    async def resolve(host: str) -> list[str]:
        return await web.resolve(host)

    return Sender(HostNames(private), resolve, httpx2.MockTransport(web.handle))


def post(one: Sender, url: str = URL) -> int:
    return asyncio.run(one.post(url, {"webhook-id": "wh_1"}, b"{}"))


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_with_an_address_that_is_not_public_gets_nothing(web: Web, address: str) -> None:
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC_6]):
        web.addresses = addresses
        with pytest.raises(NotSent, match="not public"):
            post(sender(web))
    assert web.requested == []


def test_the_connection_goes_to_the_address_that_was_checked(web: Web) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])

    async def rebinding(host: str) -> list[str]:
        web.resolved.append(host)
        return next(answers)

    web.resolve = rebinding  # type: ignore[method-assign]
    assert post(sender(web)) == 200
    [request] = web.requested
    assert (request.url.host, request.url.port, request.url.raw_path) == (PUBLIC, 8443, b"/a?b=c")
    assert request.headers["host"] == "hook.example:8443"
    assert request.extensions["sni_hostname"] == "hook.example"
    assert web.resolved == ["hook.example"]
    with pytest.raises(NotSent, match="not public"):
        post(sender(web))
    assert len(web.requested) == 1


def test_a_redirect_is_an_answer_like_any_other(web: Web) -> None:
    web.answer = lambda _: httpx2.Response(307, headers={"location": "https://127.0.0.1/"})
    assert post(sender(web)) == 307
    assert len(web.requested) == 1


def test_where_one_address_does_not_answer_the_next_is_tried(web: Web) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == PUBLIC_6:
            raise httpx2.ConnectError("no route")
        return httpx2.Response(200)

    web.addresses, web.answer = [PUBLIC_6, PUBLIC], answer
    assert post(sender(web)) == 200


@pytest.mark.parametrize(
    "url",
    ["", "hook.example", "ftp://hook.example/", "http://hook.example/", "https://", "https:///a", "https://a b.example/",
     "https://ann:secret@hook.example/", "https://hook.example/#a", "https://hook.example:99999/", "https://hook.exämple/",
     "https://[::1/", "https://hook.example\\@127.0.0.1/", "https://hook.example/\n", "https://127.0.0.1/", "https://[::1]/",
     "https://169.254.169.254/latest", "https://10.0.0.1:6379/", "https://" + "a" * 3000],
)  # fmt: skip
def test_an_address_to_which_nothing_would_be_sent_is_refused_at_once(web: Web, url: str) -> None:
    with pytest.raises(ApiError) as caught:
        sender(web).check(url)
    assert caught.value.code == "invalid_request"
    assert web.resolved == []


@pytest.mark.parametrize("url", ["http://10.0.0.5:8000/hook", "http://ci.lan/", "https://ci.lan/"])
def test_hosts_that_the_operator_lists_may_be_private(web: Web, url: str) -> None:
    web.addresses = ["10.0.0.6"]
    listed = sender(web, "10.0.0.5", "*.lan")
    listed.check(url)
    assert post(listed, url) == 200
    with pytest.raises(NotSent, match="no longer allowed" if url[4] == ":" else "not public"):
        post(sender(web), url)


def test_a_receiver_that_never_answers_is_left(web: Web, monkeypatch: Any) -> None:
    monkeypatch.setattr("api.webhooks.sender.SEND_S", 0.05)

    async def never(_: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    web.answer = never
    with pytest.raises(NotSent, match="in time"):
        post(sender(web))
