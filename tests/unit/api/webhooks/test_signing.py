"""Signatures: those of the package standardwebhooks, and accepted by OpenAI's client."""

from __future__ import annotations

import time

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from api.webhooks.events import EVENT_TYPES, Event
from api.webhooks.signing import new_secret, signed

CLIENT = OpenAI(api_key="none", base_url="http://127.0.0.1:9")


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The example of its specification, as standardwebhooks 1.1.0 signs it."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body, webhook_id = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert signed(webhook_id, 1614265330, body, secret) == {
        "webhook-id": webhook_id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_openais_client_unwraps_every_event(event_type: str) -> None:
    event = Event(event_type, "resp_1", "ann", 1_796_000_000_123)  # type: ignore[arg-type]
    body, secret = event.body("ab" * 16), new_secret()
    headers = signed("wh_1", int(time.time()), body, secret)
    read = CLIENT.webhooks.unwrap(body, headers, secret=secret)
    assert (read.type, read.data.id, read.created_at) == (event_type, "resp_1", 1_796_000_000)
    for changed in (headers | {"webhook-id": "wh_2"}, headers | {"webhook-timestamp": "1"}):
        with pytest.raises(InvalidWebhookSignatureError):
            CLIENT.webhooks.unwrap(body, changed, secret=secret)
