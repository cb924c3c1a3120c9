"""Either every file is written or none is, and no trace is left."""

import os
import stat

import pytest

from skinfluence.cleaning.outputs import write_together


def test_all_files_are_written_and_folders_made(tmp_path):
    write_together({tmp_path / "a" / "b" / "one.txt": "1", tmp_path / "two.txt": "2"})
    assert (tmp_path / "a" / "b" / "one.txt").read_text() == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "two.txt"]


def test_when_one_cannot_be_written_none_is(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_together(
            {tmp_path / "old.txt": "new", tmp_path / "x" / "y.txt": "y", tmp_path / "taken": "z"}
        )
    assert (tmp_path / "old.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.txt", "taken"]


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write_together({tmp_path / "file" / "a.txt": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_get_ordinary_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        write_together({tmp_path / "a.txt": "a"})
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_old_files_come_back_when_a_later_one_fails(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")
    replace = os.replace

    def fail_on_b(source, target):
        if str(target).endswith("b.txt"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", fail_on_b)
    with pytest.raises(KeyboardInterrupt):
        write_together({tmp_path / "a.txt": "new", tmp_path / "x" / "b.txt": "b"})
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
