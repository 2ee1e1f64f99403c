"""One example for each route: the request of those that take a body, the response of the others."""

from __future__ import annotations

from typing import Any

_CHAT = "5dd0f8dc67704c9fae1887397294beee"
_FILE = "file-5dd0f8dc67704c9fae1887397294beee"
_BATCH = "batch_5dd0f8dc67704c9fae1887397294beee"
_RESPONSE = "resp_5dd0f8dc67704c9fae1887397294beee"
_HELLO = [{"role": "user", "content": "What is a queue?"}]
_MODEL = {"model_id": "mlx-community/Qwen3-4B-4bit"}
_FRAME = 'id: 1\ndata: {"text": "Hello", "done": false}\n\n'
_NATIVE_BATCH = {
    "id": _CHAT,
    "status": "running",
    "model_id": "demo-chat",
    "counts": {"total": 2, "done": 1, "failed": 0, "cancelled": 0, "left": 1},
    "tokens_per_second": 48.2,
    "seconds_left": 0.2,
}
LINES = (
    '{"custom_id": "one", "prompt": "What is a queue?"}\n{"custom_id": "two", "prompt": "7+5"}\n'
)
"""JSON Lines of a batch."""
_LINE = (
    '{"custom_id":"one","line":1,"model_id":"demo-chat","text":"A line.","finish_reason":"stop"}\n'
)

REQUESTS: dict[str, Any] = {
    "POST /api/engine/chat": {"model_id": "demo-chat", "messages": _HELLO, "temperature": 0.7},
    "POST /api/engine/chat/stop": {"job_id": _CHAT},
    "POST /api/engine/batches": {
        "model_id": "demo-chat",
        "prompts": ["What is a queue?", "7+5"],
        "max_tokens": 20,
    },
    "POST /api/engine/models/load": {**_MODEL, "kv_quantization": 8, "pin": True},
    "POST /api/engine/models/unload": _MODEL,
    "POST /api/engine/models/unpin": _MODEL,
    "POST /api/engine/models/register": {"name": "mine", "path": "/Users/ann/models/mine"},
    "POST /api/engine/models/download": _MODEL,
    "POST /api/engine/models/download/cancel": _MODEL,
    "POST /api/engine/models/delete": _MODEL,
    "POST /v1/webhook_endpoints": {
        "name": "CI",
        "url": "https://ci.example/hook",
        "event_types": ["response.completed", "batch.completed"],
    },
    "POST /v1/webhook_endpoints/{endpoint_id}/test": {"event_type": "batch.completed"},
    "POST /api/engine/keys": {"name": "ann", "roles": ["admin"], "daily_tokens": None},
    "POST /api/engine/keys/quota": {"name": "bob", "daily_tokens": 200000},
    "POST /api/engine/keys/limits": {"name": "bob", "highest_tier": "default", "most_running": 4},
    "POST /v1/chat/completions": {"model": "demo-chat", "messages": _HELLO, "stream": True},
    "POST /v1/completions": {"model": "demo-chat", "prompt": "A queue is", "max_tokens": 20},
    "POST /v1/embeddings": {"model": "all-MiniLM-L6-v2", "input": ["A man eats.", "A cat sleeps."]},
    "POST /v1/rerank": {
        "model": "bge-reranker-v2-m3",
        "query": "Who eats?",
        "documents": ["A cat sleeps.", "A man eats."],
        "top_n": 1,
    },
    "POST /v1/batches": {
        "input_file_id": _FILE,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    },
    "POST /v1/responses": {"model": "demo-chat", "input": "What is a queue?"},
    "POST /v1/responses/input_tokens": {"model": "demo-chat", "input": "What is a queue?"},
    "POST /v1/messages": {"model": "demo-chat", "max_tokens": 100, "messages": _HELLO},
    "POST /v1/messages/count_tokens": {"model": "demo-chat", "messages": _HELLO},
    "POST /v1/files": {"purpose": "batch", "file": "(the file's bytes, JSON Lines)"},
}
"""Bodies. All are JSON but the last, which is a form."""

_EACH_OLD = ("load", "unload", "register", "download", "delete")
REQUESTS |= {
    f"POST /models/{name}": REQUESTS[f"POST /api/engine/models/{name}"] for name in _EACH_OLD
}

_LISTED = {
    "id": "0b9c1d5e-6f1a-5a55-9d5f-6c1f5f3a1d10",
    "name": "Qwen3-4B-4bit",
    "path": "/Users/ann/models/Qwen3-4B-4bit",
    "size": 2263022529,
    "architecture": "qwen3",
    "context_window": 40960,
    "is_vision": False,
    "takes_tools": True,
    "sampling_defaults": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    "downloaded": True,
    "downloading": False,
    "loaded": True,
    "kv_quantization": None,
    "draft_model": None,
}
_ACTIVE = {
    name: _LISTED[name]
    for name in (
        "id",
        "name",
        "path",
        "architecture",
        "context_window",
        "is_vision",
        "kv_quantization",
    )
}
_PAGE: dict[str, Any] = {
    "object": "list",
    "data": [],
    "first_id": None,
    "last_id": None,
    "has_more": False,
}
_KEY = {
    "id": "4f0c2a9be1d7",
    "name": "bob",
    "roles": ["chat"],
    "daily_tokens": 200000,
    "created_at": 1796000000.0,
}
_USED = {"requests": 1, "prompt_tokens": 15, "completion_tokens": 8, "cached_tokens": 14}
RESPONSES: dict[str, Any] = {
    "GET /api/engine/chat/{job_id}/events": _FRAME,
    "GET /api/engine/jobs/{job_id}": {"job_id": _CHAT, "state": "ended", "text": "A line."},
    "GET /api/engine/jobs/{job_id}/receipt": {
        "job_id": _CHAT,
        "finish_reason": "stop",
        "model_id": _LISTED["id"],
        "seed": 2713905641,
        "workers": ["mac-1f0c2a9b.4711-1796000000"],
        "libraries": {"mlx": "0.32.4", "mlx-lm": "0.33.0"},
    },
    "POST /api/engine/jobs/{job_id}/replay": {
        "job_id": "0b" * 16,
        "replay_of": _CHAT,
        "result": "differs",
        "compared_tokens": 41,
        "token": 42,
        "original_token": 318,
        "replay_token": 262,
    },
    "GET /api/engine/batches": [_NATIVE_BATCH],
    "GET /api/engine/batches/{batch_id}": _NATIVE_BATCH,
    "GET /api/engine/batches/{batch_id}/results": _LINE,
    "POST /api/engine/batches/{batch_id}/cancel": {**_NATIVE_BATCH, "status": "cancelled"},
    "GET /api/engine/models": [
        {
            **_LISTED,
            "local_path": _LISTED["path"],
            "repository": "mlx-community/Qwen3-4B-4bit",
            "download_progress": 100,
            "download_speed": None,
            "download_eta": None,
            "download_error": None,
            "deletable": True,
        }
    ],
    "GET /models": [{**_LISTED, "download_progress": 1}],
    "GET /api/engine/models/active": {"model": _ACTIVE},
    "GET /models/active": {"model": _ACTIVE},
    "POST /api/engine/models/scan": {"status": "scanned", "models": 3},
    "DELETE /api/engine/prompt-cache": {"status": "deleted", "workers": 1},
    "POST /models/scan": {"status": "scanned", "models": 3},
    "GET /v1/models": {"object": "list", "data": [{"id": "demo-chat", "object": "model"}]},
    "GET /v1/models/{model}": {"id": "demo-chat", "object": "model"},
    "GET /v1/files": _PAGE,
    "GET /v1/files/{file_id}": {"id": _FILE, "object": "file", "purpose": "batch"},
    "DELETE /v1/files/{file_id}": {"id": _FILE, "object": "file", "deleted": True},
    "GET /v1/files/{file_id}/content": _LINE,
    "GET /v1/batches": _PAGE,
    "GET /v1/batches/{batch_id}": {"id": _BATCH, "object": "batch", "status": "in_progress"},
    "POST /v1/batches/{batch_id}/cancel": {
        "id": _BATCH,
        "object": "batch",
        "status": "cancelling",
    },
    "GET /v1/responses/{response_id}": {"id": _RESPONSE, "object": "response"},
    "DELETE /v1/responses/{response_id}": {
        "id": _RESPONSE,
        "object": "response",
        "deleted": True,
    },
    "POST /v1/responses/{response_id}/cancel": {
        "id": _RESPONSE,
        "object": "response",
        "status": "cancelled",
    },
    "GET /v1/responses/{response_id}/input_items": _PAGE,
    "GET /health": {"status": "ok"},
    "GET /ready": {"status": "ready"},
    "GET /api/engine/status": {
        "queues": {"chat": 1, "batch": 0},
        "waiting_by_tier": {"priority": 0, "default": 1, "flex": 0},
        "running_total": 1,
        "you": "ann",
    },
    "GET /api/engine/status/events": "event: status\ndata: {…}\n\n",
    "GET /v1/webhook_endpoints": _PAGE,
    "GET /v1/webhook_endpoints/{endpoint_id}": {
        "id": "we_5dd0f8dc67704c9fae188739",
        "object": "webhook_endpoint",
        "name": "CI",
        "url": "https://ci.example/hook",
        "event_types": ["response.completed", "batch.completed"],
    },
    "DELETE /v1/webhook_endpoints/{endpoint_id}": {
        "id": "we_5dd0f8dc67704c9fae188739",
        "object": "webhook_endpoint.deleted",
        "deleted": True,
    },
    "GET /api/engine/keys": [_KEY],
    "DELETE /api/engine/keys/{key_id}": {"id": _KEY["id"], "name": "bob", "revoked": True},
    "GET /api/engine/usage": {
        "owner": "bob",
        "daily_tokens": 200000,
        "total": _USED,
        "models": [{"model": "demo-chat", "used": _USED}],
        "days": [{"day": "2026-11-30", "used": _USED, "models": []}],
    },
    "GET /api/engine/usage/keys": [
        {"owner": "bob", "daily_tokens": 200000, "total": _USED, "today": _USED, "models": []}
    ],
    "GET /metrics": "mlxq_num_requests_running 1\n",
    "GET /api/engine/session": {"owner": "bob", "keys": True, "roles": ["chat"]},
}
"""Successful responses; of long ones, what matters most."""
