"""A caller's usage: its own alone, for all time and day by day."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import LogWriter
from tests.support.fake_api import fake_api
from wire import keys
from wire.settings import Settings
from wire.usage import day_of

NOTHING = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}


def test_each_key_gets_its_own_sums_for_all_time_and_thirty_days(
    redis: Redis, tmp_path: Path
) -> None:
    for job_id, owner in (("1" * 32, "ann"), ("2" * 32, "ann"), ("3" * 32, "bob")):
        about = {"owner": owner, "kind": "chat", "model_id": f"model of {owner}"}
        redis.hset(keys.job(job_id), mapping=about)  # type: ignore[arg-type]
        LogWriter(redis, job_id, owner).finish()
    today = day_of(redis.time()[0])
    redis.hset(keys.usage_day("ann", today - 29), "requests", 7)
    redis.hset(keys.usage_day("ann", today - 30), "requests", 8)
    file = tmp_path / "keys"
    file.write_text(
        "".join(f"{name}:sha256:{sha256(name.encode()).hexdigest()}\n" for name in ("ann", "cid"))
    )
    file.chmod(0o600)
    with TestClient(fake_api(redis, Settings(api_keys_file=str(file)))) as client:
        assert client.get("/api/engine/usage").status_code == 401
        usage = {
            n: client.get("/api/engine/usage", headers={"Authorization": f"Bearer {n}"}).json()
            for n in ("ann", "cid")
        }
        by_key = client.get("/api/engine/usage/keys", headers={"Authorization": "Bearer cid"})
    two = {"requests": 2, "prompt_tokens": 10, "completion_tokens": 4, "cached_tokens": 2}
    assert (usage["ann"]["owner"], usage["ann"]["total"]) == ("ann", two)
    days = usage["ann"]["days"]
    assert len(days) == 30
    assert days[0]["used"] == NOTHING | {"requests": 7}
    assert days[-1] == {
        "day": datetime.fromtimestamp(today * 86400, UTC).date().isoformat(),
        "used": two,
        "models": [{"model": "model of ann", "used": two}],
    }
    assert usage["ann"]["models"] == days[-1]["models"]
    rows = [(r["owner"], r["today"], [m["model"] for m in r["models"]]) for r in by_key.json()]
    one = {"requests": 1, "prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 1}
    assert rows == [("ann", two, ["model of ann"]), ("bob", one, ["model of bob"])]
    assert usage["cid"]["total"] == NOTHING
