"""The outbox: what has ended and has to be told, written by the script that writes the end itself.

So there is an end and a message about it, or neither. Entries hold ids and how it ended, no text.
"""

from __future__ import annotations

from typing import Any

from wire import keys

OUTBOX = keys.PREFIX + "webhook-outbox"
"""Stream: an entry for each end, taken out once its deliveries are written down."""
ASKED = "webhook"
"""Field of the record of a job or a batch whose end is told: what it is and its id, as clients know
it, with a blank between them."""
TELLS_ENDS = 4
"""The first version of workers that write here."""
MOST = 100_000
"""Entries, about: while no API process runs, the oldest go."""

NOTE_END = f"""
local function note_end(record, how)
  local about = redis.call('HMGET', record, '{ASKED}', 'owner')
  if about[1] then
    redis.call('XADD', '{OUTBOX}', 'MAXLEN', '~', {MOST}, '*',
      'of', about[1], 'owner', about[2] or '', 'how', how)
  end
end
"""
"""Lua: notes the end of a job or a batch whose record has the field; ``how`` is a finish reason,
``error:`` and a code, or the state of a batch."""


def note_end(pipe: Any, asked: str, owner: str, how: str) -> None:
    """The same as an entry of a transaction; ``asked`` is the field's value."""
    entry = {"of": asked, "owner": owner, "how": how}
    pipe.xadd(OUTBOX, entry, maxlen=MOST, approximate=True)


def of_response(response_id: str) -> str:
    """The field's value for a response of OpenAI's Responses API."""
    return f"response {response_id}"


def of_chat(job_id: str) -> str:
    """The same for a chat of the native API."""
    return f"chat {job_id}"


def of_batch(batch_id: str) -> str:
    """The same for a batch."""
    return f"batch {batch_id}"
