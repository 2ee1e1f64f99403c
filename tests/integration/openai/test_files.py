"""OpenAI's files and lists of batches, through the official client."""

from __future__ import annotations

import openai
import pytest

from tests.integration.openai.batch_service import CHAT, ENDED, BatchService, line


def test_files_are_kept_listed_read_and_deleted(batch_service: BatchService) -> None:
    content = b"".join(b'{"line": %d, "text": "%s"}\n' % (n, b"abc" * 100) for n in range(10_000))
    others = [batch_service.upload(line(f"other{n}")) for n in range(2)]
    file = batch_service.client.files.create(file=("folder/some.jsonl", content), purpose="batch")
    assert (file.filename, file.bytes, file.purpose) == ("some.jsonl", len(content), "batch")
    assert batch_service.client.files.retrieve(file.id) == file
    assert batch_service.client.files.content(file.id).content == content
    newest = batch_service.client.files.list(purpose="batch", limit=1)
    assert newest.data == [file]
    assert newest.has_more
    everything = [found.id for found in batch_service.client.files.list(limit=2)]
    assert len(everything) == len(set(everything))
    assert everything[:3] == [file.id, *reversed(others)]
    assert batch_service.client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        batch_service.client.files.content(file.id)
    assert file.id not in [found.id for found in batch_service.client.files.list()]


def test_batches_are_listed_a_page_at_a_time_and_results_can_be_deleted(
    batch_service: BatchService,
) -> None:
    batches = [batch_service.until(batch_service.submit(line("a")), *ENDED) for _ in range(3)]
    listed = [found.id for found in batch_service.client.batches.list(limit=2)]
    assert listed[:3] == [batch.id for batch in reversed(batches)]
    assert len(listed) == len(set(listed))
    result = batches[0].output_file_id
    assert batch_service.client.files.delete(result).deleted
    assert batch_service.client.batches.retrieve(batches[0].id).output_file_id is None
    with pytest.raises(openai.NotFoundError):
        batch_service.client.files.content(result)


def test_mistakes_are_openais_errors(batch_service: BatchService) -> None:
    client = batch_service.client
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="missing or empty"):
        client.files.create(file=("a.jsonl", b""), purpose="batch")
    with pytest.raises(openai.NotFoundError, match="no such file"):
        client.files.retrieve("file-nope")
    with pytest.raises(openai.NotFoundError, match="no such batch"):
        client.batches.retrieve("batch_nope")
    with pytest.raises(openai.NotFoundError, match="no such file"):
        client.batches.create(input_file_id="file-nope", endpoint=CHAT, completion_window="24h")
    file_id = batch_service.upload(line("a"))
    with pytest.raises(openai.APIStatusError, match="Batches are offered for"):
        client.batches.create(
            input_file_id=file_id, endpoint="/v1/moderations", completion_window="24h"
        )
    with pytest.raises(openai.BadRequestError, match="24h"):
        client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="1h")  # type: ignore[arg-type]
