"""LangChain's standard tests of chat models, through its OpenAI client, on a service with the demo model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.service_support import SERVE, Running

MODEL = "demo-chat"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    service = Running(SERVE, tmp_path_factory.mktemp("langchain"), limit_s=600)
    try:
        yield service.line("Ready: ").removeprefix("Ready: ").strip()
    finally:
        service.close()


@pytest.fixture
def benchmark() -> None:
    """For a test that times recorded answers: it skips itself where there are none."""


@pytest.fixture
def vcr() -> None:
    """The same."""


class TestChatModel(ChatModelIntegrationTests):
    """What is switched off is what a model of two million parameters can't do, not what the service can't."""

    @pytest.fixture(autouse=True)
    def _service(self, address: str) -> None:
        self.address = address

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": f"{self.address}/v1",
            "api_key": "none",
            "model": MODEL,
            "temperature": 0,
            "max_retries": 0,
            "use_responses_api": False,
        }

    @property
    def has_tool_calling(self) -> bool:
        return False  # its chat template knows of no tools

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}

    @property
    def supports_json_mode(self) -> bool:
        return False  # it writes JSON when it is held to it, but doesn't know the keys that a prompt asks for

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "demo-vision"
