"""Nothing that a request names is fetched or opened, and the process that decodes images has no
access to files and sockets."""

from __future__ import annotations

import sys

import pytest

from tests.support.programs import after_lock_down, output_of

WATCHED = """
import sys
seen = []
def watch(event, arguments):
    if event.split(".")[0] in ("open", "socket", "subprocess", "urllib", "ctypes", "shutil", "webbrowser", "os"):
        seen.append((event, str(arguments)[:200]))
"""
IN_API = (
    WATCHED
    + """
import asyncio, api.app
from api.http.data_urls import DataUrls
from api.http.host_names import HostNames
from api.images.fetch import ImageFetcher
from api.images.urls import TOO_LARGE
from api.images.draft import DraftMessage, ImageUrl
from api.images.intake import ImageIntake
from api.errors import ApiError
from tests.unit.api.images.test_refused import FILES, URLS, files
from fakeredis import FakeRedis
def tried(images, url):
    try:
        asyncio.run(images.store([DraftMessage("user", (ImageUrl(url),))], DataUrls(), "job"))
    except ApiError:
        return
images = ImageIntake(FakeRedis(), 1 << 30, ImageFetcher(HostNames(), TOO_LARGE))
urls = [url for urls in URLS.values() for url in urls] + [files.url(data, kind) for _, kind, data, _ in FILES]
tried(images, files.url(files.plain()))
sys.addaudithook(watch)
for url in urls:
    tried(images, url)
open("README.md").close()  # so that an empty list can't mean that nobody watched
mine = ("socket.__new__", "os.listdir")  # the event loop's own pair of sockets
print([row for row in seen if row[0] not in mine and "/proc/" not in row[1]])
images.close()
"""
)
IN_CHILD = (
    WATCHED
    + """
import base64, runpy, api.images.decoder_process as child
from wire.processes.child import lock_down
child.warm_up()
lock_down(child.MEMORY)
from tests.unit.api.images.test_refused import FILES, files
sys.addaudithook(watch)
for _, kind, data, _ in FILES:
    child.answer("image", base64.b64encode(data))
child.answer("image", base64.b64encode(files.saved(files.corners())))
open("README.md").close()
print(seen)
"""
)
ONLY_THE_LAST = str([("open", str(("README.md", "r", 524288)))])
MODULES = """
import sys, runpy
sys.stdin.close()
runpy.run_path("api/images/decoder_process.py", run_name="imported")
foreign = {n.split(".")[0] for n, m in sys.modules.items() if "site-packages" in (getattr(m, "__file__", None) or "")}
foreign = {name for name in foreign if not name.startswith("_")}
ours = {n for n in sys.modules if n.split(".")[0] in ("api", "wire", "worker", "mlxq")}
print(sorted(foreign), sorted(ours))
"""


def test_the_api_opens_nothing_whatever_a_url_says() -> None:
    assert output_of(IN_API) == ONLY_THE_LAST


def test_the_child_opens_nothing_whatever_a_file_holds() -> None:
    assert output_of(IN_CHILD.replace("lock_down(child.MEMORY)\n", "")) == ONLY_THE_LAST


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no bound on address space")
def test_the_child_could_open_nothing_and_take_no_more_than_its_memory() -> None:
    assert output_of(after_lock_down("api.images.decoder_process")).split() == [
        "24",
        "24",
        "24",
        "refused",
    ]


def test_the_child_imports_nothing_but_pillow_and_the_loop_of_every_child() -> None:
    assert output_of(MODULES) == "['PIL'] ['wire', 'wire.processes', 'wire.processes.child']"
