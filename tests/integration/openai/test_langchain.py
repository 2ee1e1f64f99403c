"""LangChain's standard tests of chat models, through its OpenAI client, on a service with the
demo model."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel

from tests.support.service_support import LIMIT_S, SERVE, Running

MODEL = "demo-chat"
CLOSING = httpx.Limits(max_keepalive_connections=0)
# The standard tests never close their clients: the garbage collector does.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    service = Running(SERVE, tmp_path_factory.mktemp("langchain"))
    try:
        yield service.line("Ready: ").removeprefix("Ready: ").strip()
    finally:
        service.close()
        gc.collect()  # Close what the tests left open while warnings about it are ignored.


def settings(address: str) -> dict[str, Any]:
    return {
        "base_url": f"{address}/v1",
        "api_key": "none",
        "model": MODEL,
        "temperature": 0,
        "max_retries": 0,
        "stream_usage": True,  # by default not requested at addresses that aren't OpenAI's
        # Shared clients, the default, keep connections of another test's event loop.
        "http_client": httpx.Client(limits=CLOSING, timeout=LIMIT_S),
        "http_async_client": httpx.AsyncClient(limits=CLOSING, timeout=LIMIT_S),
    }


@pytest.fixture
def benchmark() -> None:
    """For a test that times recorded answers; without any it skips itself."""


@pytest.fixture
def vcr() -> None:
    """The same."""


class TestChatModel(ChatModelIntegrationTests):
    """Switched off is what a model of two million parameters can't do; the service can."""

    @pytest.fixture(autouse=True)
    def _service(self, address: str) -> None:
        self.address = address

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return settings(self.address)

    @property
    def has_tool_calling(self) -> bool:
        return False  # its chat template has no tools

    @property
    def has_structured_output(self) -> bool:
        return False  # a string without maxLength goes on until the context is full

    @property
    def supports_json_mode(self) -> bool:
        # with a schema it writes JSON, but not the keys that a prompt asks for
        return False

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "demo-vision"


class Verdict(BaseModel):
    """The outcome of a review."""

    mood: Literal["good", "bad"]
    stars: Literal[1, 2, 3]


def test_an_answer_with_an_end_is_held_to_its_shape(address: str) -> None:
    model = ChatOpenAI(**settings(address)).with_structured_output(Verdict, method="json_schema")
    assert isinstance(model.invoke("Hello!"), Verdict)
