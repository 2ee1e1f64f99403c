"""Long request bodies: images are cut out of them, texts are not, and all bodies share a budget."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from api.http.byte_budget import ByteBudget
from tests.support import picture_files as files
from tests.support.api_support import LIMIT_S, chat_body
from tests.support.image_support import CHAT, ImageApi, body


def long_url() -> str:
    return files.url(files.saved(files.noise((300, 300))))


@pytest.mark.parametrize("change", [lambda raw: raw, lambda raw: raw.replace("/", "\\/"),
                                    lambda raw: raw.replace('"url": ', '"url"\n:\t '),
                                    lambda raw: raw.replace('"data:image/png', '"DATA:IMAGE/PNG'),
                                    lambda raw: raw.replace('"data:image/png', '"data:'),
                                    lambda raw: raw.replace('{"url": "data', '"data').replace('"}}', '"}'),
                                    lambda raw: raw.replace("iVBORw0KGgo", "iVBORw0K\\r\\nGgo")],
                         ids=["plain", "escaped slashes", "white space", "upper case", "no type", "by itself",
                              "line breaks"])  # fmt: skip
def test_a_long_image_is_cut_out_of_its_body(
    images: ImageApi, change: Callable[[str], str]
) -> None:
    content = change(
        json.dumps(body(long_url(), text='a "url": "data:image/gif;base64,AAAA'))
    ).encode()
    response = images.client.post(
        CHAT, content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code == 200, response.text
    parts: Any = images.worker.seen[-1].messages[0].content
    text, part = parts
    assert text.text == 'a "url": "data:image/gif;base64,AAAA'
    assert images.picture(part).tobytes() == files.noise((300, 300)).tobytes()


def test_a_text_that_looks_like_an_image_stays_a_text(images: ImageApi) -> None:
    texts = [long_url(), '"url": "' + long_url() + '"', '\\"url": "' + long_url()]
    for text in texts:
        assert images.messages(body(text=text))[0].text() == text
        assert (
            images.messages(chat_body(messages=[{"role": "user", "content": text}]))[0].text()
            == text
        )


def test_a_place_in_a_body_leads_to_images_of_the_same_request_only(images: ImageApi) -> None:
    images.messages(body(long_url()))
    images.worker.seen.clear()
    assert "of type" in images.refused("data:taken/0")


def test_text_beside_the_images_is_bounded(images: ImageApi) -> None:
    response = images.client.post(CHAT, json=body(text="x" * (9 << 20)))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_room_is_given_in_turn() -> None:
    async def story() -> list[object]:
        budget = ByteBudget(10)
        assert await budget.take(8, 1)
        large = asyncio.create_task(budget.take(9, LIMIT_S))
        await asyncio.sleep(0)
        small = asyncio.create_task(budget.take(1, LIMIT_S))
        await asyncio.sleep(0.01)
        seen: list[object] = [large.done(), small.done()]
        budget.give(8)
        return [*seen, await large, await small, budget.free]

    assert asyncio.run(story()) == [False, False, True, True, 0]


def test_who_waits_too_long_or_goes_away_leaves_the_room_as_it_was() -> None:
    async def story() -> tuple[bool, int]:
        budget = ByteBudget(10)
        assert await budget.take(10, 1)
        late = await budget.take(5, 0.01)
        gone = asyncio.create_task(budget.take(5, 5))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        budget.give(10)
        return late, budget.free

    assert asyncio.run(story()) == (False, 10)
