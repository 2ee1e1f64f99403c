"""How scripts/bench compares: turns, ratios, the child that is the in-process limit, and its
file of reports."""

import json
import sys
from pathlib import Path

import pytest
import uvloop

from scripts.benchmarks import report_file
from scripts.benchmarks.cells import paired
from scripts.benchmarks.measured import Measured
from scripts.benchmarks.parts import rounds
from scripts.benchmarks.report import report
from scripts.benchmarks.systems.limit import limit
from scripts.benchmarks.systems.models import copy_without_end
from scripts.benchmarks.systems.plan import (
    IN_TURN,
    WARM_UP,
    BenchError,
    Case,
    Figures,
    Plan,
    Results,
)

ANSWERS_ONCE = """
import socket, sys
print("Ready: a BLAS", flush=True)
with socket.socket(fileno=0) as questions:
    with questions.makefile("rb") as lines:
        assert lines.readline().endswith(b'"turn": 3}\\n')
        questions.sendall(b'{"greedy 8": {"ttft": [0.5], "rate": [2.0]}}\\n')
        lines.readline()
        sys.exit("the model is lost")
"""


def plan(parts: tuple[str, ...], number: int = 3) -> Plan:
    return Plan("", "", number, parts)


class Systems:
    """Systems that only record whose turn it is."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, str, int]] = []

    def named(self, name: str) -> rounds.Round:
        async def take(case: Case, turn: int) -> Results:
            self.turns.append((name, case.part, turn))
            return {case.part: Figures([0.1], [float(turn)])}

        return take


@pytest.mark.parametrize("part", list(IN_TURN))
def test_systems_take_turns_and_change_their_order_every_round(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "PAUSE_S", 0)
    systems, names = Systems(), IN_TURN[part]
    running = {name: systems.named(name) for name in names}
    found = uvloop.run(rounds.take_turns(plan((part,)), running, lambda _: None))
    orders = [(WARM_UP, names[::-1]), (0, names), (1, names[::-1]), (2, names)]
    expected = [(name, part, turn) for turn, order in orders for name in order]
    assert systems.turns[: len(expected)] == expected
    cases = len(plan((part,)).cases)
    assert systems.turns == expected * cases
    assert {name: results[part].rate for name, results in found.items()} == {
        name: [0, 1, 2] * cases for name in names
    }


def test_a_batch_beside_other_parts_has_one_round_each_way() -> None:
    batch = Case("batch")
    assert plan(("batch",), 6).rounds_of(batch) == 6
    assert plan(("throughput", "batch"), 6).rounds_of(batch) == 2
    assert plan(("throughput", "batch"), 6).rounds_of(Case("throughput")) == 6
    assert plan(("throughput", "batch"), 1).rounds_of(batch) == 1


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    drifting = [100.0, 200.0, 400.0]
    assert paired([90.0, 180.0, 360.0], drifting) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="longer"):
        paired([90.0, 180.0], drifting)


def test_the_limit_answers_and_its_end_is_an_error_with_its_output(tmp_path: Path) -> None:
    with limit(plan(()), tmp_path, [sys.executable, "-c", ANSWERS_ONCE]) as child:
        assert child.blas == "a BLAS"
        found = uvloop.run(child.round(Case("throughput", clients=8), 3))
        assert found == {"greedy 8": Figures([0.5], [2.0])}
        with pytest.raises(BenchError, match=r"ended with status 1:\n(.|\n)*the model is lost"):
            uvloop.run(child.round(Case("throughput"), 4))


def test_a_limit_that_does_not_start_is_an_error_with_its_output(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="no such model"),
        limit(plan(()), tmp_path, [sys.executable, "-c", "import sys; sys.exit('no such model')"]),
    ):
        pass


def test_every_table_says_when_it_was_measured() -> None:
    figures = Figures([0.1, 0.1], [1.0])
    found = Measured(ours=dict.fromkeys(("warm", "cold", "stop one", "stop all"), figures))
    tables = report(found, "Measured today.").split("### ")[1:]
    assert len(tables) == 2
    assert all(table.split("\n\n")[1] == "Measured today." for table in tables)


def test_a_run_of_some_parts_leaves_the_tables_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.md"
    report_file.write_section(
        file, "One model", "- Slow.\n\n### Stop\n\nMeasured monday.\n\n| 1 |\n\n### Start\n\n| 2 |"
    )
    report_file.write_section(file, "Another model", "- Fast.\n\n### Stop\n\n| 3 |")
    report_file.write_section(
        file, "One model", "- Slower.\n\n### Start\n\n| 4 |\n\n### Batch\n\n| 5 |"
    )
    assert file.read_text("utf-8") == (
        "# Benchmarks\n\n"
        "## One model\n\n- Slower.\n\n"
        "### Stop\n\nMeasured monday.\n\n| 1 |\n\n### Start\n\n| 4 |\n\n### Batch\n\n| 5 |\n\n"
        "## Another model\n\n- Fast.\n\n### Stop\n\n| 3 |\n"
    )


def test_a_section_without_tables_is_replaced_and_the_rest_of_the_file_stays(
    tmp_path: Path,
) -> None:
    file = tmp_path / "report.md"
    file.write_text(
        "# Benchmarks\n\nBy hand.\n\n## A crowd\n\n| 1 |\n\nRepeated.\n\n## By hand\n\nWords.\n",
        "utf-8",
    )
    report_file.write_section(file, "A crowd", "| 2 |")
    assert (
        file.read_text("utf-8")
        == "# Benchmarks\n\nBy hand.\n\n## A crowd\n\n| 2 |\n\n## By hand\n\nWords.\n"
    )


def test_a_report_has_lines_of_100_columns_and_whole_rows_of_tables(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    row = "| " + "1 " * 60 + "|"
    report_file.write_section(file, "A model", f"- {'word ' * 30}.\n\n### Stop\n\n{row}")
    lines = file.read_text("utf-8").split("\n")
    assert [line for line in lines if len(line) > 100] == [row]
    assert [line[:6] for line in lines if "word" in line] == ["- word", "  word"]


def brought_model(folder: Path) -> Path:
    folder.mkdir()
    added = [
        {"id": 0, "content": "<pad>", "special": True},
        {"id": 1, "content": "<unused>", "special": True},
        {"id": 2, "content": "<end>", "special": True},
        {"id": 3, "content": "a word", "special": False},
    ]
    files = {
        "config.json": {"eos_token_id": [2], "hidden_size": 8},
        "generation_config.json": {"eos_token_id": 2},
        "tokenizer_config.json": {"eos_token": "<end>", "pad_token": "<pad>"},
        "tokenizer.json": {"added_tokens": added},
    }
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_of_ones_own_is_copied_with_an_end_that_it_does_not_write(tmp_path: Path) -> None:
    own = brought_model(tmp_path / "own")
    before = {file.name: file.read_bytes() for file in own.iterdir()}
    copy = tmp_path / "below" / "copy"
    copy_without_end(own, copy)

    def read(name: str) -> object:
        return json.loads((copy / name).read_text("utf-8"))

    assert read("config.json") == {"eos_token_id": 1, "hidden_size": 8}
    assert read("generation_config.json") == {"eos_token_id": 1}
    assert read("tokenizer_config.json") == {"eos_token": "<unused>", "pad_token": "<pad>"}
    assert (copy / "model.safetensors").read_bytes() == b"weights"
    assert {file.name: file.read_bytes() for file in own.iterdir()} == before


def test_a_folder_without_a_tokeniser_can_not_be_measured(tmp_path: Path) -> None:
    own = brought_model(tmp_path / "own")
    (own / "tokenizer.json").unlink()
    with pytest.raises(BenchError, match="can't be measured: FileNotFoundError"):
        copy_without_end(own, tmp_path / "copy")


def test_a_model_of_ones_own_is_aimed_higher_than_a_tiny_one() -> None:
    figures = {"greedy 1": Figures([0.1], [90.0])}, {"greedy 1": Figures([0.1], [100.0])}
    own = Measured(ours=figures[0], limit=figures[1], generated=False)
    assert "| 90% | – | ≥ 95 % of in-process | **no** |" in report(own, "Now.")
    tiny = Measured(ours=figures[0], limit=figures[1])
    assert "| 90% | – | – | – |" in report(tiny, "Now.")
