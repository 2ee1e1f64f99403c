"""The frame of RQ's dashboard: around pages, and around nothing else."""

from __future__ import annotations

from typing import Any

from api.monitoring.dashboard_frame import Frame, header

PAGE = '<!DOCTYPE html><html><head><title>ü</title></head><body class="x"><p>Hi</p></body></html>'


def response(content_type: str, *parts: bytes) -> list[Any]:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"1"), (b"x", b"y")]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return [start, *({"type": "http.response.body", "body": part} for part in parts)]


def test_the_header_is_the_pages_own_with_the_dashboard_as_the_current_one() -> None:
    text = header("/rq").decode()
    assert text.startswith('<section class="top"')
    assert text.count("aria-current") == 1
    assert '<a href="/rq" aria-current="page">Queue</a>' in text
    for page in ("/", "/manage/models", "/status", "/docs"):
        assert f'href="{page}"' in text


def test_a_page_gets_the_frame_and_its_new_length() -> None:
    whole = PAGE.encode()
    start, body = Frame("/rq").around(response("text/html; charset=utf-8", whole[:50], whole[50:]))
    text = body["body"].decode()
    assert '<body class="x"><section class="top"' in text
    assert text.index("/static/dashboard.js") < text.index("<title>ü</title>")
    assert text.endswith("</section><p>Hi</p></body></html>")
    assert dict(start["headers"]) == {
        b"content-type": b"text/html; charset=utf-8",
        b"x": b"y",
        b"content-length": str(len(body["body"])).encode(),
    }


def test_what_is_no_page_stays_as_it_is() -> None:
    frame = Frame("/rq")
    for untouched in (
        response("application/json", b"{}"),
        response("text/css", b"<body>"),
        response("text/html", b"a fragment"),
    ):
        assert frame.around(untouched) == untouched
