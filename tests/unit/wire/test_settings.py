"""Settings: every one has a variable, a flag and a range, and a bad value is one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from mlxq.service import launch
from tests.support.paths import ROOT
from wire.settings import (
    BadSetting,
    Settings,
    check_model_folders,
    from_command_line,
    load,
    parser,
    to_environment,
)


def test_defaults_need_no_environment() -> None:
    assert load(environ={"MLXQ_DATA": ".mlxq"}) == Settings()
    assert Settings().host == "127.0.0.1"


def test_a_flag_wins_over_a_variable_and_that_over_redis_url() -> None:
    flags = parser("x", "y").parse_args(["--redis-url", "unix:///flag"])
    env = {"MLXQ_REDIS_URL": "unix:///variable", "REDIS_URL": "unix:///plain"}
    assert load(flags, env).redis_url == "unix:///flag"
    assert load(None, env).redis_url == "unix:///variable"
    assert load(None, {"REDIS_URL": "unix:///plain"}).redis_url == "unix:///plain"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MLXQ_PORT", "eighty", "not a number"),
        ("MLXQ_PORT", "70000", "between 0 and 65535"),
        ("MLXQ_SLOTS", "0", "between 1 and 1024"),
        ("MLXQ_BACKEND", "torch", "one of mlx, echo"),
        ("MLXQ_PROT", "80", "is not a setting"),
        ("MLXQ_DRAIN_S", "nan", "between"),
    ],
)
def test_a_bad_value_names_its_variable(variable: str, value: str, says: str) -> None:
    with pytest.raises(BadSetting, match=says) as caught:
        load(environ={variable: value})
    assert variable in str(caught.value)


def test_a_bad_flag_stops_the_start_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        from_command_line("serve", "about", ["--port", "-1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_pass_through_the_environment_unchanged() -> None:
    settings = Settings(
        models=(Path("/a"), Path("/b")), cors_origins=("http://x", "http://y"), port=0, drain_s=1.5
    )
    assert load(environ=to_environment(settings)) == settings


def test_help_names_every_variable_and_the_docs_list_every_setting() -> None:
    text = parser("x", "y").format_help()
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for setting in fields(Settings):
        variable = "MLXQ_" + setting.name.upper()
        assert re.sub(r"\s", "", variable) in re.sub(r"\s", "", text)
        assert f"`{variable}`" in page, f"{variable} is not in docs/settings.md"


def test_a_model_folder_that_is_not_there_stops_the_start_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_model_folders(Settings(models=(tmp_path,)))
    missing = tmp_path / "missing"
    monkeypatch.setenv("MLXQ_MODELS", str(missing))
    with pytest.raises(SystemExit) as stopped:
        launch.main(argv=["--port", "0", "--data", str(tmp_path / "data")])
    assert stopped.value.code == 2
    line = f"MLXQ_MODELS: {missing} is not a folder; correct --models, or mount the disk\n"
    assert capsys.readouterr().err == f"serve: {line}"
    alone = subprocess.run(
        [sys.executable, "-m", "worker"], capture_output=True, text=True, check=False
    )
    assert (alone.returncode, alone.stderr) == (1, f"worker: {line}")


def test_the_data_folder_is_the_users_own_unless_the_current_folder_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = {"HOME": "/home/ann"}
    monkeypatch.setattr(sys, "platform", "linux")
    assert load(environ=home).data == Path("/home/ann/.local/share/mlxq")
    assert load(environ=home | {"XDG_DATA_HOME": "/data"}).data == Path("/data/mlxq")
    assert load(environ=home | {"XDG_DATA_HOME": "here"}).data == Path(
        "/home/ann/.local/share/mlxq"
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    assert load(environ=home).data == Path("/home/ann/Library/Application Support/mlxq")
    assert load(environ=home | {"MLXQ_DATA": "/mine"}).data == Path("/mine")
    (tmp_path / ".mlxq").mkdir()
    assert load(environ=home).data == Path(".mlxq")
