"""``mlxq doctor``: each problem is found and comes with what to do."""

from __future__ import annotations

import json
import resource
import socket
from pathlib import Path

import httpx2
import pytest

from mlxq.commands import diagnostics
from mlxq.commands.diagnostics import Finding
from tests.support.cli_support import FakeService, mlxq, refusal
from wire.settings import Settings

HEALTHY = {"GET /health": {"status": "ok"}, "GET /ready": {"status": "ready"}}


@pytest.fixture
def only_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the checks of this machine."""
    monkeypatch.setattr("mlxq.commands.doctor.of_this_machine", lambda *_, **__: iter(()))


def findings(service: httpx2.BaseTransport) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in json.loads(mlxq(service, "doctor", "--json").stdout)}


@pytest.mark.usefixtures("only_the_service")
def test_a_healthy_service_is_found_with_its_models() -> None:
    found = findings(FakeService(**HEALTHY))
    assert found["service"]["state"] == found["ready"]["state"] == "ok"
    assert "Tiny" in found["ready"]["detail"]


@pytest.mark.usefixtures("only_the_service")
def test_an_empty_model_folder_of_the_service_is_named() -> None:
    workers = [{"model_folders": ["/models", "/empty"]}]
    found = findings(FakeService(**HEALTHY, **{"GET /api/engine/status": {"workers": workers}}))
    assert found["models"]["state"] == "warning"
    assert found["models"]["detail"] == "the service found no model in /empty"


@pytest.mark.usefixtures("only_the_service")
def test_a_disk_that_takes_no_cached_prompts_is_named() -> None:
    cache = {"folder": "/p", "bytes": 0, "cap_bytes": 1, "hits": 0, "bytes_written": 0}
    workers = [{"disk_cache": cache | {"problem": "No space left on device"}}]
    found = findings(FakeService(**HEALTHY, **{"GET /api/engine/status": {"workers": workers}}))
    assert found["disk cache"]["state"] == "warning"
    assert "No space left" in found["disk cache"]["detail"]


@pytest.mark.usefixtures("only_the_service")
def test_no_service_is_a_warning_and_no_worker_is_a_problem() -> None:
    def refused(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    result = mlxq(httpx2.MockTransport(refused), "doctor")
    assert result.exit_code == 0
    assert "warning  service" in result.stdout
    assert "-> start one with `mlxq serve`" in result.stdout
    no_worker = FakeService(
        **(HEALTHY | {"GET /ready": refusal(503, "no_worker", "No worker is running.")})
    )
    result = mlxq(no_worker, "doctor")
    assert result.exit_code == 1
    assert "problem  ready" in result.stdout


@pytest.mark.usefixtures("only_the_service")
def test_a_bad_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXQ_SLOTS", "none")
    found = findings(FakeService(**HEALTHY))
    assert found["settings"]["state"] == "problem"
    assert "MLXQ_SLOTS" in found["settings"]["detail"]


def mended(finding: Finding, state: str) -> str:
    """Check a finding's state; return its detail. A problem must say what to do."""
    assert finding.state == state
    assert finding.fix
    return finding.detail


def test_the_port_is_free_or_the_services_or_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(port=listener.getsockname()[1])
        assert str(settings.port) in mended(diagnostics.port(settings, answers=False), "problem")
        assert diagnostics.port(settings, answers=True).state == "ok"
    assert diagnostics.port(settings, answers=False) == Finding(
        "port", "ok", f"127.0.0.1, port {settings.port}: free"
    )


def test_redis_is_the_embedded_one_or_must_answer() -> None:
    assert diagnostics.redis(Settings()).detail.startswith("embedded: ")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
    detail = mended(
        diagnostics.redis(Settings(redis_url=f"redis://:hush@127.0.0.1:{number}/0")), "problem"
    )
    assert "hush" not in detail


def test_the_disk_must_have_room_and_be_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=tmp_path / "not" / "yet")
    for free, state in ((1 << 20, "problem"), (5 << 30, "warning"), (50 << 30, "ok")):
        monkeypatch.setattr(
            "shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free})
        )
        assert diagnostics.disk(settings).state == state
    (tmp_path / "file").write_text("")
    mended(diagnostics.disk(Settings(data=tmp_path / "file" / "data")), "problem")


def test_model_folders_are_counted_and_missing_ones_named(tmp_path: Path) -> None:
    for place in (
        "good/one/config.json",
        "good/one/part/config.json",
        "good/one/part/model.safetensors",
        "good/publisher/two/config.json",
        "good/publisher/two/model.safetensors",
        "good/publisher/notes/config.json",
        "good/models--a--b/snapshots/x/config.json",
        "empty/notes.txt",
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("{}")
    folders = tuple(tmp_path / name for name in ("good", "empty", "nowhere"))
    good, empty, nowhere = diagnostics.model_folders(Settings(models=folders))
    assert good.detail.startswith("3 models in ")
    mended(empty, "warning")
    assert "No such file" in mended(nowhere, "problem")
    [none] = diagnostics.model_folders(Settings())
    mended(none, "warning")


def test_an_mlx_that_fails_is_reported_with_its_last_line() -> None:
    assert (
        mended(diagnostics.mlx_device("raise SystemExit('no Metal device')"), "problem")
        == "no Metal device"
    )
    assert "exit status -9" in mended(
        diagnostics.mlx_device("import os; os.kill(os.getpid(), 9)"), "problem"
    )


def test_the_slow_blas_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.service.blas.openblas", lambda: None)
    assert "libopenblas0-serial" in diagnostics.blas().fix


def test_the_blas_is_the_one_that_the_service_would_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.service.blas.openblas", lambda: Path("/there/libopenblas.so"))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert diagnostics.blas().detail == "OpenBLAS at /there/libopenblas.so"
    monkeypatch.setenv("LD_PRELOAD", "")
    assert (diagnostics.blas().state, diagnostics.blas().fix[:5]) == ("warning", "unset")


def test_missing_packages_and_an_old_system_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "_PACKAGES", ("redis", "no-such-package"))
    assert mended(diagnostics.packages(), "problem") == "not installed: no-such-package"
    for system, kind, release in (
        ("Darwin", "x86_64", "15.1"),
        ("Darwin", "arm64", "13.6"),
        ("Windows", "AMD64", ""),
    ):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        monkeypatch.setattr("platform.machine", lambda kind=kind: kind)
        monkeypatch.setattr("platform.mac_ver", lambda release=release: (release, ("", "", ""), ""))
        mended(diagnostics.machine(), "problem")


@pytest.mark.parametrize(
    ("hard", "state"), [(64, "problem"), (1024, "warning"), (4096, "ok"), (-1, "ok")]
)
def test_few_open_files_are_reported_with_how_to_allow_more(
    monkeypatch: pytest.MonkeyPatch, hard: int, state: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    found = diagnostics.open_files()
    assert found.state == state
    assert bool(found.fix) == (state != "ok")
