"""Configured keys: which are accepted, which stop the start, and that no message shows one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.auth.api_keys import admitted, only_this_machine
from tests.support.service_support import ROOT
from wire.settings import BadSetting, Settings, parser, to_environment

KEY = "canary-0123456789abcdef"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def keys_file(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "keys"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return str(file)


def test_a_file_has_a_key_a_line_comments_and_digests(tmp_path: Path) -> None:
    text = f"# people\n\nann:{KEY}\n  bob:sha256:{DIGEST[::-1]}\nann:another-{KEY}\r\n"
    known = admitted(Settings(host="0.0.0.0", api_keys_file=keys_file(tmp_path, text)))
    found = [known.find(key.encode()) for key in (KEY, "another-" + KEY, "x" + KEY)]
    assert [one and one.owner for one in found] == ["ann", "ann", None]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "holds no key"), ("# nothing\n", "holds no key"), (f"{KEY}\n", "line 1"), ("a:short\n", "at least 16"),
     (f"a b:{KEY}\n", "line 1"), (f"everyone:{KEY}\n", "line 1"), (f"../x:{KEY}\n", "line 1"),
     (f"# x\na:sha256:{DIGEST[1:]}\n", "line 2"), (f"a:{KEY}\nb:{KEY}\n", "the same"), (f"a:{KEY} x\n", "no spaces"),
     (f"a:{KEY}\nb:sha256:{DIGEST}\n", "the same")],
)  # fmt: skip
def test_a_file_that_is_no_use_is_one_clear_line_without_a_key(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(BadSetting, match=says) as caught:
        admitted(Settings(api_keys_file=keys_file(tmp_path, text)))
    assert "canary" not in str(caught.value)
    assert DIGEST[1:] not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadSetting, match="chmod 600"):
        admitted(Settings(api_keys_file=keys_file(tmp_path, f"a:{KEY}\n", mode)))


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff\xfe")
    for name in (str(tmp_path / "none"), str(tmp_path), str(broken)):
        with pytest.raises(BadSetting, match="cannot be read"):
            admitted(Settings(api_keys_file=name))


@pytest.mark.parametrize(("host", "private"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("", False),
                                               ("0.0.0.0", False), ("::", False), ("192.0.2.7", False)])  # fmt: skip
def test_other_addresses_want_a_key(host: str, private: bool) -> None:
    assert only_this_machine(host) is private
    assert admitted(Settings(host=host, api_keys=(f"a:{KEY}",)))
    if not private:
        with pytest.raises(BadSetting, match="MLXQ_API_KEYS_FILE"):
            admitted(Settings(host=host))


@pytest.mark.parametrize(
    "origin",
    ["*", "chat.example", "https://chat.example/", "https://*.example", "file://", "NULL", "://a"],
)
def test_only_whole_origins_are_accepted(origin: str) -> None:
    with pytest.raises(BadSetting, match="no origin"):
        admitted(Settings(cors_origins=(origin,)))


@pytest.mark.parametrize("origin", ["null", "tauri://localhost", "http://localhost:5173"])
def test_origins_of_desktop_shells_are_accepted(
    caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    assert admitted(Settings(cors_origins=(origin,), api_keys=(f"a:{KEY}",)))
    assert caplog.text == ""
    admitted(Settings(cors_origins=(origin,)))
    assert ("any web page" in caplog.text) is (origin == "null")


@pytest.mark.parametrize(
    "name", ["*", "*.", "a.*", "*a.example", "http://a.example", "a.example:80", "a b", "*.*.a"]
)
@pytest.mark.parametrize("setting", ["allowed_hosts", "image_hosts"])
def test_only_names_of_hosts_and_patterns_below_one_are_accepted(setting: str, name: str) -> None:
    chosen: Any = {setting: (name,)}
    with pytest.raises(BadSetting, match=f"MLXQ_{setting.upper()}"):
        create_app(Settings(**chosen))


def test_keys_have_no_flag_and_no_settings_object_shows_them() -> None:
    settings: Any = Settings(api_keys=(f"a:{KEY}",))
    assert "canary" not in repr(settings)
    assert "--api-keys " not in parser("x", "y").format_help()
    assert to_environment(settings)["MLXQ_API_KEYS"] == f"a:{KEY}"


@pytest.mark.parametrize("module", ["api", "mlxq.service.launch"])
def test_an_open_address_without_a_key_stops_the_start_with_one_line(
    module: str, tmp_path: Path
) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLXQ_")}
    command = [sys.executable, "-m", module, "--host", "0.0.0.0", "--data", str(tmp_path / "data")]
    run = subprocess.run(
        [*command, "--redis-url", "redis://127.0.0.1:1"],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "MLXQ_API_KEYS_FILE" in run.stderr
    assert not (tmp_path / "data").exists()
