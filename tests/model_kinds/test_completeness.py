"""Every model type of the installed libraries has a row of the table, or a reason why it has none: a
new release shows its new types here."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from mlx_vlm.utils import MODEL_REMAPPING

from tests.model_kinds.expected import NOT_RUN, REFUSED
from tests.model_kinds.kinds import KINDS, OF_MLX_VLM, SEES, TEXT
from tests.model_kinds.table import PAGE, lines_in, not_run_lines, refused_lines
from worker.backends.loading import refuse_other_kinds
from worker.errors import WorkerError
from worker.models.folders import describe

NO_CHATS = {name for names in REFUSED.values() for name in names.split()}
WITHOUT_ROW = {kind.removesuffix(SEES) for kind in NOT_RUN}


def models_of(library: str) -> Path:
    spec = find_spec(f"{library}.models")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or []
    return Path(folder)


def types_of_mlx_lm() -> set[str]:
    files = models_of("mlx_lm").glob("*.py")
    return {file.stem for file in files if "\nclass Model(" in file.read_text(encoding="utf-8")}


def types_of_mlx_vlm() -> set[str]:
    return {file.parent.name for file in models_of("mlx_vlm").glob("*/__init__.py")}


def test_every_model_type_of_mlx_lm_has_a_configuration_or_a_reason() -> None:
    configured = {recipe.model_type or kind for kind, recipe in TEXT.items()}
    assert types_of_mlx_lm() - configured - WITHOUT_ROW - {"bailing_moe_v3"} == set()


def test_every_model_type_of_mlx_vlm_has_a_configuration_or_a_reason() -> None:
    types, folder = types_of_mlx_vlm(), models_of("mlx_vlm")
    names = {
        (recipe.model_type or kind.removesuffix(SEES)).lower()
        for kind, recipe in OF_MLX_VLM.items()
    }
    configured = {MODEL_REMAPPING.get(name, name) for name in names}
    # Text types that both libraries have are run by mlx_lm.
    others = {f.stem.lower().replace("-", "_") for f in models_of("mlx_lm").glob("*.py")}
    text = {name for name in types & others if not (folder / name / "vision.py").is_file()}
    assert types - configured - text - WITHOUT_ROW - NO_CHATS == set()
    assert NO_CHATS - types == set()


def test_the_document_has_every_kind_and_why_some_have_no_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(lines_in(page)) == len(KINDS)
    assert not_run_lines() in page
    assert refused_lines() in page


@pytest.mark.parametrize("model_type", sorted(NO_CHATS))
def test_types_for_other_tasks_are_refused(tmp_path: Path, model_type: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    record = describe(tmp_path)
    assert record is not None
    with pytest.raises(WorkerError, match="can't be run here"):
        refuse_other_kinds(record)
