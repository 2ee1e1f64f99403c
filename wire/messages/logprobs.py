"""Log-probabilities of tokens: as events hold them, as they are stored, as clients see them."""

from __future__ import annotations

from typing import Any, NamedTuple

MOST_LOGPROBS = 20
"""The most likeliest tokens that a request may ask for at each position: OpenAI's bound."""
Stored = list[Any]


class Alternative(NamedTuple):
    """One of the likeliest tokens at a position."""

    token: bytes
    logprob: float


class TokenLogprob(NamedTuple):
    """A token's bytes, its natural log-probability, and the likeliest tokens in its place.

    ``top`` is in descending order, and the token itself may be in it. The first token of a prompt
    has no log-probability: nothing came before it.
    """

    token: bytes
    logprob: float | None
    top: tuple[Alternative, ...] = ()

    def stored(self) -> Stored:
        """As JSON, in a flat list: token and log-probability, then those of the likeliest."""
        row: Stored = [_stored_bytes(self.token), self.logprob]
        for other in self.top:
            row += (_stored_bytes(other.token), other.logprob)
        return row

    @classmethod
    def of_stored(cls, row: Stored) -> TokenLogprob:
        top = zip(row[2::2], row[3::2], strict=True)
        return cls(
            _bytes_of(row[0]),
            row[1],
            tuple(Alternative(_bytes_of(token), logprob) for token, logprob in top),
        )

    def view(self) -> dict[str, Any]:
        """As an item of OpenAI's ``logprobs.content``."""
        top = [_view(other.token, other.logprob) for other in self.top]
        return _view(self.token, self.logprob) | {"top_logprobs": top}

    @classmethod
    def of_view(cls, view: dict[str, Any]) -> TokenLogprob:
        return cls(
            bytes(view["bytes"]),
            view["logprob"],
            tuple(
                Alternative(bytes(other["bytes"]), other["logprob"])
                for other in view["top_logprobs"]
            ),
        )


def token_text(token: bytes) -> str:
    r"""A token's bytes as text; bytes that are no whole characters are written as ``\xf0``, as
    OpenAI writes them."""
    return token.decode("utf-8", "backslashreplace")


def _view(token: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": token_text(token), "logprob": logprob, "bytes": list(token)}


def _stored_bytes(token: bytes) -> str | list[int]:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return list(token)


def _bytes_of(stored: str | list[int]) -> bytes:
    return stored.encode() if isinstance(stored, str) else bytes(stored)
