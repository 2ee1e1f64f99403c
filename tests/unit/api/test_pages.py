"""The pages as they are served: complete, without resources from elsewhere, and all of one
version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.pages import FOLDER
from tests.support.fake_api import fake_api, fake_redis

FILES = sorted(file for file in FOLDER.rglob("*") if file.is_file())
TYPES = {
    ".js": "javascript",
    ".mjs": "javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".json": "json",
    ".txt": "text/plain",
}
VENDORED = {
    # Temml 0.13.5
    "temml/temml.min.js": "1ab19148afe0dbc836b7a74f344071b3f3a70a7a8259ae4049e76894fcdf8d95",
    # pdfjs-dist 6.5.438, from its folder legacy/build
    "pdfjs/pdf.min.mjs": "522ad2c83bc8a0010e7f0cc60d0892b77c8d2bf2c9702dc12288311d94270f42",
    "pdfjs/pdf.worker.min.mjs": "b4c8353ded0d88d2e2009574a29eb4e0c3ff7e942ecdf51ef5f71566a9667f31",
}
OURS = [file for file in FILES if FOLDER / "vendor/pdfjs" not in file.parents]
"""All but pdf.js, whose XML names and examples look like addresses."""
ELSEWHERE = re.compile(
    r"(?:https?:)?//(?!www\.w3\.org/(?:2000/svg|1998/Math/MathML))[a-z0-9-]+\.[a-z]", re.IGNORECASE
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(fake_api(fake_redis())) as one:
        yield one


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_each_file_is_served_with_its_type_and_asked_for_again_each_time(
    client: TestClient, file: Path
) -> None:
    answer = client.get(f"/static/{file.relative_to(FOLDER)}")
    assert answer.status_code == 200
    assert TYPES[file.suffix] in answer.headers["content-type"]
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(
        f"/static/{file.relative_to(FOLDER)}", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304


def test_vendored_files_are_as_they_were_published() -> None:
    vendor = FOLDER / "vendor"
    found = {
        str(file.relative_to(vendor)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in vendor.rglob("*.*js")
    }
    assert found == VENDORED
    assert all((vendor / name).parent.joinpath("LICENSE.txt").is_file() for name in VENDORED)


@pytest.mark.parametrize("file", OURS, ids=lambda file: str(file.relative_to(FOLDER)))
def test_no_file_loads_anything_from_elsewhere_or_holds_what_a_strict_policy_forbids(
    file: Path,
) -> None:
    text = file.read_text(encoding="utf-8")
    assert ELSEWHERE.findall(text) == []
    if file.suffix == ".html":
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)", text) == []
    if file.suffix == ".js":
        assert (
            re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function",
                text,
            )
            == []
        )


@pytest.mark.parametrize("page", ["/", "/manage/models", "/status"])
def test_pages_are_at_their_addresses_and_everything_that_they_name_is_there(
    client: TestClient, page: str
) -> None:
    answer = client.get(page)
    assert answer.headers["content-type"].startswith("text/html")
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert client.get(path).status_code == 200, path


def test_nothing_outside_the_folder_is_served(client: TestClient) -> None:
    for path in (
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/..%2fpages.py",
        "/static/js",
    ):
        assert client.get(path).status_code == 404, path


def test_the_reference_is_served_under_the_strict_policy_and_needs_nothing_from_elsewhere(
    client: TestClient,
) -> None:
    answer = client.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert "/static/docs/page.js" in named
    for path in named:
        assert re.match(r"/(?!/)", path), path
    for path in (path for path in named if path.startswith("/static/")):
        assert client.get(path).status_code == 200, path
