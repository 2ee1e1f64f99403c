"""``mlxq doctor``: checks of this machine and the service, each problem with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import typer

from mlxq.commands.diagnostics import Finding, of_this_machine
from mlxq.errors import FAILED, NoService, Problem
from mlxq.http_client import MODEL_FIELDS, MODELS, AsJson, Client, Url, connect
from mlxq.output import clean, plural, show_json, size
from wire.settings import URL_VARIABLE, BadSetting, Settings, load

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("problem", "red")}


def doctor(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """Check what the service needs and say how to fix it. Fails when there is a problem."""
    findings = []
    with connect(context, url) as client:
        for finding in _all(client):
            findings.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(FAILED)


def _all(client: Client) -> Iterator[Finding]:
    settings, bad = _settings()
    if bad is not None:
        yield bad
    service = list(_service(client))
    here = urlsplit(client.url).port == settings.port
    yield from of_this_machine(settings, answers=here and service[0].state == "ok")
    yield from service


def _settings() -> tuple[Settings, Finding | None]:
    try:
        return load(), None
    except BadSetting as bad:
        return Settings(), Finding(
            "settings", "problem", str(bad), "correct the variable, or unset it"
        )


def _service(client: Client) -> Iterator[Finding]:
    """Whether a service answers and is ready; that none runs is a warning, not a problem."""
    try:
        client.get("/health", limit_s=5.0)
    except NoService:
        fix = f"start one with `mlxq serve`, or name its address with --url or {URL_VARIABLE}"
        yield Finding("service", "warning", f"none answers at {client.url}", fix)
        return
    except Problem as problem:
        fix = f"name the address of a service with --url or {URL_VARIABLE}"
        yield Finding("service", "problem", str(problem), fix)
        return
    yield Finding("service", "ok", f"answers at {client.url}")
    try:
        client.get("/ready", limit_s=5.0)
        models = client.get(MODELS, 5.0, rows=MODEL_FIELDS)
    except Problem as problem:
        fix = "see what the worker's log says, or start one: `mlxq serve`, `python -m worker`"
        yield Finding("ready", "problem", str(problem), fix)
        return
    yield Finding(
        "ready",
        "ok",
        f"a worker is there; models: {', '.join(row['name'] for row in models) or 'none'}",
    )
    try:
        workers = client.get("/api/engine/status", 5.0, fields=("workers",))["workers"]
    except Problem:
        return
    yield from _empty_folders(workers, [str(row["path"]) for row in models])
    yield from _disk_caches(workers)


def _disk_caches(workers: list[dict[str, Any]]) -> Iterator[Finding]:
    """What the workers keep of prompts on their disks, and why they can't."""
    for cache in [row["disk_cache"] for row in workers if row.get("disk_cache")]:
        use = f"{size(cache['bytes'])} of {size(cache['cap_bytes'])} in {cache['folder']}"
        counts = f"{plural(cache['hits'], 'hit')}, {size(cache['bytes_written'])} written"
        if cache["problem"]:
            fix = "free some space, mount the disk, or choose another folder with --disk-cache"
            yield Finding("disk cache", "warning", f"{use}: {cache['problem']}", fix)
        else:
            yield Finding("disk cache", "ok", f"{use}; {counts}")


def _empty_folders(workers: list[dict[str, Any]], paths: list[str]) -> Iterator[Finding]:
    """The model folders of the service's workers in which none of its models is."""
    for folder in sorted({name for row in workers for name in row.get("model_folders", ())}):
        if not any(PurePath(path).is_relative_to(folder) for path in paths):
            fix = "put a model's folder, with its config.json, below it: `mlxq models scan`"
            yield Finding("models", "warning", f"the service found no model in {folder}", fix)


def _show(finding: Finding) -> None:
    word, colour = _MARKS[finding.state]
    typer.secho(f"{word:9}", fg=colour, nl=False)
    print(f"{finding.check:11}{clean(finding.detail)}", flush=True)
    if finding.fix:
        print(f"{'':20}-> {clean(finding.fix)}", flush=True)
