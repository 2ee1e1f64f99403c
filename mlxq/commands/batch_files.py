"""The files of ``mlxq batch``: the prompts, the growing results, and the id of the batch.

Only ids and offsets are kept in memory. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlxq.errors import WrongUse

MOST_ID = 255


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where one prompt stands in its file, and whether it names its own id and its own model.

    ``sendable`` is False for JSON that Python reads and the service doesn't: NaN, infinities, lone
    surrogates.
    """

    custom_id: str
    start: int
    length: int
    has_id: bool
    has_model: bool
    sendable: bool = True

    def failure(self) -> dict[str, Any]:
        """The result of a line that can't be sent, as the service would write it."""
        message = (
            "The line is not valid JSON: it holds NaN, an infinite number or half a character."
        )
        return {"custom_id": self.custom_id, "error": {"code": "bad_request", "message": message}}


def read_prompts(path: Path) -> list[Prompt]:
    """Every prompt of a JSONL file; without a custom_id its line number identifies it.

    Raises WrongUse with the line.
    """
    prompts: list[Prompt] = []
    lines: dict[str, int] = {}
    with _opened(path) as file:
        start = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        file.seek(start)
        for number, raw in enumerate(file, 1):
            if raw.strip():
                prompt = _prompt(raw, start, f"{path}, line {number}", number)
                if (before := lines.setdefault(prompt.custom_id, number)) != number:
                    raise WrongUse(
                        f"{path}, line {number}: custom_id {prompt.custom_id!r} is that of line "
                        f"{before}"
                    )
                prompts.append(prompt)
            start += len(raw)
    if not prompts:
        raise WrongUse(f"{path} holds no prompts: write one JSON object a line")
    return prompts


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}") from None


def _prompt(raw: bytes, start: int, where: str, number: int) -> Prompt:
    try:
        row = json.loads(raw)
    except ValueError as error:
        raise WrongUse(f"{where} is not JSON: {str(error).partition(':')[0]}") from None
    except RecursionError:
        raise WrongUse(f"{where} is nested too deeply") from None
    if not isinstance(row, dict) or not ("prompt" in row or "messages" in row):
        raise WrongUse(
            f'{where} is not a prompt: write {{"custom_id": "…", "prompt": "…"}}, or messages'
        )
    custom_id = row.get("custom_id", f"line-{number}")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MOST_ID or _is_cut(custom_id):
        raise WrongUse(f"{where}: custom_id must be a text of 1 to {MOST_ID} characters")
    return Prompt(
        custom_id, start, len(raw), "custom_id" in row, "model_id" in row, _is_readable(raw)
    )


def _is_cut(text: str) -> bool:
    """Whether a text holds a lone surrogate, which no file of results can."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _is_readable(raw: bytes) -> bool:
    """Whether the service reads the line: this is the function that it reads lines with."""
    from pydantic_core import from_json

    try:
        from_json(raw, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def upload(path: Path, prompts: Sequence[Prompt]) -> Iterator[bytes]:
    """The lines of these prompts, each with its custom_id."""
    with _opened(path) as file:
        for prompt in prompts:
            file.seek(prompt.start)
            raw = file.read(prompt.length).strip()
            if not prompt.has_id:
                raw = json.dumps({"custom_id": prompt.custom_id} | json.loads(raw)).encode()
            yield raw + b"\n"


class Results:
    """The output file: a line of JSON for each ended prompt, written by one command at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished: dict[str, bool] = {}
        """For each prompt in the file, whether it has an answer; False for a failure."""
        self._open()

    def _open(self) -> None:
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise WrongUse(
                f"cannot write {self.path}: {error.strerror or 'it is not an ordinary file'}"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load()
        except BlockingIOError:
            self._file.close()
            raise WrongUse(f"another `mlxq batch` is writing {self.path}") from None
        except OSError as error:  # a pipe or a device, which can't be searched
            self._file.close()
            raise WrongUse(
                f"cannot write {self.path}: {error.strerror or 'it is not an ordinary file'}"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> None:
        self._file.seek(0)
        end = 0
        for number, raw in enumerate(self._file, 1):
            if not raw.endswith(b"\n"):
                break  # A killed writer left half a line: it is written again.
            try:
                row = json.loads(raw)
                # A failure that belongs to no prompt.
                if row["custom_id"] is not None:
                    self.finished[row["custom_id"]] = "error" not in row
            except (ValueError, KeyError, TypeError):
                where = f"{self.path}, line {number}"
                raise WrongUse(
                    f"{where} is not a result of a batch: choose another file with -o"
                ) from None
            end += len(raw)
        self._file.truncate(end)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the results that are missing in the file, and sync it to disk."""
        for row in rows:
            custom_id = row["custom_id"]
            if custom_id is not None and custom_id not in self.finished:
                # Its line in the upload, which may have held only some of the prompts.
                row.pop("line", None)
                self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                self.finished[custom_id] = "error" not in row
        self._file.flush()
        os.fsync(self._file.fileno())

    def forget_failed(self) -> None:
        """Remove failed lines, so that their prompts are sent again."""
        self._file.seek(0)
        kept = [raw for raw in self._file if "error" not in json.loads(raw)]
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("wb") as file:
            file.writelines(kept)
            os.fsync(file.fileno())
        # Replaced in one step: a crash leaves the old file or the new one, never a part.
        fresh.replace(self.path)
        self._file.close()
        self.finished.clear()
        self._open()

    def close(self) -> None:
        self._file.close()


class Ticket:
    """The id of the running batch, in a small file beside the results while the batch runs."""

    def __init__(self, results: Path) -> None:
        self.path = results.with_name(results.name + ".batch")

    def read(self, url: str) -> str | None:
        """The id of the running batch, if there is one.

        Raises WrongUse for a batch at another service.
        """
        try:
            ticket = json.loads(self.path.read_text(encoding="utf-8"))
            service, batch_id = str(ticket["url"]), str(ticket["batch_id"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise WrongUse(f"{self.path} can't be read: remove it to begin a new batch") from None
        if service != url:
            raise WrongUse(
                f"this batch runs at {service}: use --url {service}, or remove {self.path} "
                f"to begin a new one"
            )
        return batch_id

    def write(self, url: str, batch_id: str) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_text(json.dumps({"url": url, "batch_id": batch_id}), encoding="utf-8")
        fresh.replace(self.path)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
