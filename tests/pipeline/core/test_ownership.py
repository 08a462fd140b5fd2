from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_line
from children import tiny

from pipeline.core.ownership import MARKER, claim
from stages.errors import SettingsError

PLAN = tiny_line.PLAN


def tree(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): file.read_text()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_a_new_folder_an_empty_one_and_the_one_of_the_repository_become_ours(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/.gitkeep").touch()
    for name in ("new", "empty", "kept"):
        claim(tmp_path / name, PLAN, [])
        assert (tmp_path / name / MARKER).is_file()
        claim(tmp_path / name, PLAN, [])


@pytest.mark.parametrize("name", ["write/dog.jpg", "notes.txt", ".new-stuff", ".old-mail"])
def test_a_folder_that_holds_something_else_is_refused_and_stays_as_it_was(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(SettingsError, match="is no artifact folder: it holds") as caught:
        claim(tmp_path, PLAN, [])
    assert "--artifacts" in caught.value.hint
    assert tree(tmp_path) == before


def test_a_stage_alone_that_was_copied_here_is_ours(tmp_path: Path) -> None:
    (tmp_path / "write").mkdir()
    (tmp_path / "write/record.json").write_text(json.dumps({"stage": "write"}))
    claim(tmp_path, PLAN, [])
    assert (tmp_path / MARKER).is_file()


@pytest.mark.parametrize("user", ["photos", "photos/artifacts/x.npz", "photos/artifacts", "."])
def test_a_folder_that_overlaps_the_users_files_is_refused(tmp_path: Path, user: str) -> None:
    with pytest.raises(SettingsError, match="overlap: artifacts would replace your files"):
        claim(tmp_path / "photos/artifacts", PLAN, [tmp_path / user])
    assert not (tmp_path / "photos").exists()


def test_files_beside_the_folder_do_not_overlap_it(tmp_path: Path) -> None:
    claim(tmp_path / "artifacts", PLAN, [tmp_path / "photos", tmp_path / "network.keras"])


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_stage_that_has_no_place_is_found_before_any_work(tmp_path: Path, kind: str) -> None:
    claim(tmp_path, PLAN, [])
    if kind == "file":
        (tmp_path / "copy").write_text("mine")
    else:
        (tmp_path / "copy").symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="the stage copy needs a folder there"):
        claim(tmp_path, PLAN, [])


def test_images_in_folders_named_as_stages_survive_a_run_into_them(tmp_path: Path) -> None:
    image = tmp_path / "photos/write/cat/1.jpg"
    image.parent.mkdir(parents=True)
    image.write_text("a cat")
    done = tiny("copy", "run", "all", "--artifacts", "photos", cwd=tmp_path)
    assert done.returncode == 2
    assert "'photos' is no artifact folder: it holds 'write'" in done.stderr
    assert tree(tmp_path) == {"photos/write/cat/1.jpg": "a cat"}


def test_the_empty_name_is_not_the_current_folder(tmp_path: Path) -> None:
    done = tiny("copy", "run", "all", "--artifacts", "", cwd=tmp_path)
    assert done.returncode == 2
    assert "the name of a folder is empty" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_command_that_only_looks_writes_nothing_into_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert tiny("copy", "status", "--artifacts", ".", cwd=tmp_path).returncode == 0
    assert tree(tmp_path) == {"mine.txt": "mine"}
