"""The entries of a token log: how an event is stored and published, and its token positions.

A position counts tokens, so that it means the same text whichever worker wrote the entries and
however tokens that came together were grouped. It is a client's cursor; sequence numbers are the
log's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from wire.messages import (
    Delta,
    Event,
    Failed,
    Finished,
    Piece,
    Progress,
    Run,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    Warning,
    is_terminal,
)

UNKNOWN = -1


class Entry(NamedTuple):
    """One event in a job's log; ``data`` is its JSON object in the native API, as bytes.

    ``more`` is JSON, too, and what the data leaves out: of a delta the token ids and what isn't its
    text (log-probabilities too), of an end the reason, usage and timings. Neither is parsed before
    it is asked for: most are only passed on. Sequence number 0 marks progress, which is published
    without being logged. A delta leads from position ``start`` to ``position``; both are unknown
    where they weren't written down: in other events, and in entries of the first release.
    """

    job_id: str
    sequence: int
    kind: str
    ends: bool
    data: bytes
    more: bytes
    start: int = UNKNOWN
    position: int = UNKNOWN

    @property
    def frame(self) -> str:
        return self.data.decode("ascii")

    @property
    def extra(self) -> Any:
        return json.loads(self.more)

    @property
    def event(self) -> Event:
        """The event that was logged."""
        frame: dict[str, Any] = json.loads(self.data)
        if self.kind == "delta":
            return _delta(frame["text"], self.extra)
        if self.kind == "warning":
            return Warning(frame["warning"])
        if self.kind == "progress":
            return Progress(**frame["progress"])
        extra = self.extra
        usage, timings = usage_of(extra), timings_of(extra)
        if self.kind == "failed":
            param = extra.get("param")
            return Failed(frame["code"], frame["error"], usage, timings, param, run_of(extra))
        last = None if "last" not in extra else TokenLogprob.of_stored(extra["last"])
        result, stop_reason = extra.get("result"), extra.get("stop_reason")
        run, reason = run_of(extra), extra["finish_reason"]
        return Finished(reason, usage, timings, result, stop_reason, last, run)

    def placed(self, place: int) -> Entry:
        """The entry with its positions, given the position behind the entry before it."""
        if self.start != UNKNOWN:
            return self
        return self._replace(start=place, position=place + self._positions())

    def _positions(self) -> int:
        if self.kind != "delta":
            return int(self.ends)  # The end has a position of its own, a warning none.
        if self.more.startswith(b"["):
            return self.more.count(b",") + 1
        return _delta("", self.extra).positions

    def rest(self, seen: int) -> Entry:
        """The rest of a delta for a client that has seen the text up to a position inside it."""
        event = self.event
        assert isinstance(event, Delta)
        at, before, pieces = self.start, Piece(0, 0), event.pieces
        while pieces and at + pieces[0].positions <= seen:
            at, before, pieces = at + pieces[0].positions, before.joined(pieces[0]), pieces[1:]
        left = Delta(
            event.text[before.text :],
            event.token_ids[before.tokens :],
            event.reasoning[before.reasoning :],
            event.tool_calls[before.calls :],
            pieces if len(pieces) > 1 else (),
            event.logprobs[before.tokens :],
            event.prompt if at == self.start else None,
        )
        cut = decode(encode(self.job_id, self.sequence, left).encode("ascii"))
        return cut._replace(start=at, position=self.position)


def usage_of(extra: Any) -> Usage:
    """The usage in what an end has beside its frame.

    Beside and not inside ``usage`` stands what later releases count: earlier ones refuse it there.
    """
    return Usage(**extra["usage"], reasoning_tokens=extra.get(_REASONING, 0))


def timings_of(extra: Any) -> Timings:
    """The timings in what an end has beside its frame; what later releases count stands beside."""
    drafted, accepted = extra.get(_DRAFTS, (0, 0))
    return Timings(**extra["timings"], draft_tokens=drafted, accepted_tokens=accepted)


def run_of(extra: Any) -> Run | None:
    """What a worker ran the job with; None for an end that none wrote, or an earlier release."""
    return Run(**extra[_RUN]) if _RUN in extra else None


_REASONING = "reasoning_tokens"
_RUN = "run"
_DRAFTS = "drafts"
"""Beside an end's timings: ``draft_tokens`` and ``accepted_tokens``."""
_KINDS = {kind.encode(): kind for kind in ("delta", "warning", "progress", "finished", "failed")}


def position_after(entries: Iterable[Entry]) -> int:
    """The position behind a log, given all its entries."""
    place = 0
    for entry in entries:
        place = entry.placed(place).position
    return place


def _beside_text_alone(event: Delta) -> str | None:
    """What is stored beside the text of a delta that is text and its tokens' ids, maybe of several
    steps; None for any other. Without pieces only the ids are; else it is the JSON of
    ``_beside_text``, written out by hand: there is one of these for every token."""
    if event.reasoning or event.tool_calls or event.logprobs or event.prompt is not None:
        return None
    ids = ",".join(map(str, event.token_ids))
    if not event.pieces:
        return f"[{ids}]"
    pieces = _compact([_short(piece) for piece in event.pieces])
    return f'{{"token_ids":[{ids}],"reasoning":"","tool_calls":[],"pieces":{pieces}}}'


def _beside_text(event: Delta) -> dict[str, Any]:
    calls = [call._asdict() for call in event.tool_calls]
    extra: dict[str, Any] = {"token_ids": event.token_ids, "reasoning": event.reasoning}
    extra["tool_calls"] = calls
    if event.pieces:
        extra["pieces"] = [_short(piece) for piece in event.pieces]
    if event.logprobs:
        extra["logprobs"] = [one.stored() for one in event.logprobs]
    if event.prompt is not None:
        extra["prompt"] = [one.stored() for one in event.prompt]
    return extra


def _short(piece: Piece) -> int | Piece:
    """A piece as it is stored: of the usual one, a token with nothing but text, only the length."""
    return piece.text if piece == (1, piece.text, 0, 0) else piece


def _piece(stored: Any) -> Piece:
    return Piece(1, stored) if isinstance(stored, int) else Piece(*stored)


def _delta(text: str, extra: Any) -> Delta:
    if isinstance(extra, list):
        return Delta(text, tuple(extra))
    calls = tuple(ToolCallDelta(**call) for call in extra["tool_calls"])
    pieces = tuple(map(_piece, extra.get("pieces", ())))
    logprobs = tuple(map(TokenLogprob.of_stored, extra.get("logprobs", ())))
    prompt = tuple(map(TokenLogprob.of_stored, extra["prompt"])) if "prompt" in extra else None
    ids, reasoning = tuple(extra["token_ids"]), extra["reasoning"]
    return Delta(text, ids, reasoning, calls, pieces, logprobs, prompt)


_compact = json.JSONEncoder(separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring_ascii


def _frame_and_extra(event: Event) -> tuple[str, dict[str, Any], Any]:
    if isinstance(event, Delta):
        return "delta", {"text": event.text, "done": False}, _beside_text(event)
    if isinstance(event, Warning):
        return "warning", {"text": "", "done": False, "warning": event.text}, None
    if isinstance(event, Progress):
        return "progress", {"text": "", "done": False, "progress": asdict(event)}, None
    extra = _counts(event)
    if isinstance(event, Failed):
        extra["finish_reason"] = "error"
        if event.param is not None:
            extra["param"] = event.param
        return (
            "failed",
            {"text": "", "done": True, "error": event.message, "code": event.code},
            extra,
        )
    extra["finish_reason"] = event.finish_reason
    if event.result is not None:
        extra["result"] = event.result
    if event.stop_reason is not None:
        extra["stop_reason"] = event.stop_reason
    if event.last is not None:
        extra["last"] = event.last.stored()
    return "finished", {"text": "", "done": True}, extra


def _counts(event: Finished | Failed) -> dict[str, Any]:
    """The usage and timings of an end, with what later releases tell beside them."""
    usage, timings = asdict(event.usage), asdict(event.timings)
    reasoning = usage.pop(_REASONING)
    drafts = timings.pop("draft_tokens"), timings.pop("accepted_tokens")
    extra: dict[str, Any] = {"usage": usage, "timings": timings}
    if any(drafts):
        extra[_DRAFTS] = drafts
    if reasoning:
        extra[_REASONING] = reasoning
    if event.run is not None:
        extra[_RUN] = asdict(event.run)
    return extra


def encode(job_id: str, sequence: int, event: Event, start: int = UNKNOWN) -> str:
    """The stored and published form: job, sequence, kind, marks, frame, extra, separated by tabs.

    In JSON of ASCII there is neither a tab nor a newline, so that entries are separated without
    being parsed. The marks are 1 for an end, else 0; of a delta whose ``start`` is given its two
    positions follow. The first release reads everything but 1 as "no end".
    """
    kind, marks = "delta", f"{int(is_terminal(event))}"
    if isinstance(event, Delta):
        if start != UNKNOWN:
            marks = f"0:{start}:{start + event.positions}"
        if (more := _beside_text_alone(event)) is not None:
            frame = f'{{"text": {_quoted(event.text)}, "done": false}}'
            return f"{job_id}\t{sequence}\tdelta\t{marks}\t{frame}\t{more}"
    kind, fields, extra = _frame_and_extra(event)
    more = _compact(extra)
    return f"{job_id}\t{sequence}\t{kind}\t{marks}\t{json.dumps(fields)}\t{more}"


def decode(line: bytes) -> Entry:
    """One entry as it was stored or published."""
    job_id, sequence, kind, marks, data, more = line.split(b"\t")
    if len(marks) == 1:
        return Entry(job_id.decode(), int(sequence), _KINDS[kind], marks == b"1", data, more)
    _, start, position = marks.split(b":")
    return Entry(
        job_id.decode(), int(sequence), _KINDS[kind], False, data, more, int(start), int(position)
    )


def lines(message: bytes) -> Iterator[tuple[str, bytes]]:
    """The entries of one published message, each with its job and not decoded yet."""
    for line in message.split(b"\n"):
        yield line[: line.index(b"\t")].decode(), line


def decode_rows(rows: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    """The entries of a stored range, as XRANGE answers it."""
    return [decode(fields[b"e"]) for _, fields in rows]


def range_after(sequence: int) -> str:
    """The lower bound for XRANGE that leaves out everything up to and including ``sequence``."""
    return f"{sequence + 1}-0"
