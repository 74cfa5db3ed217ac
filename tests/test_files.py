"""nasda.files: whole or not at all, and errors that say what to do."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from nasda.files import folder_written_whole, make_folder, read_json, write_json, write_text, written_whole
from tests.data.test_reading import message_of


def failing(code: int) -> Callable[..., NoReturn]:
    """A stand-in for a system call that fails with `code`."""

    def call(*args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return call


def half_write(path: Path) -> None:
    with written_whole(path) as file:
        file.write("half of the new")
        raise KeyboardInterrupt


def test_a_file_appears_with_what_was_written(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "α.txt", "größer\nzwei")
    assert (tmp_path / "new" / "folder" / "α.txt").read_bytes() == "größer\nzwei".encode()


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    with written_whole(tmp_path / "b", "wb") as file:
        file.write(bytes(range(256)))
    assert (tmp_path / "b").read_bytes() == bytes(range(256))


def test_the_old_file_stays_until_the_block_is_over(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with written_whole(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["f"]


def test_a_block_that_raises_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        half_write(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_block_that_raises_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half_write(tmp_path / "f")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("os.fsync", errno.ENOSPC, "disk is full"),
        ("os.fsync", errno.EDQUOT, "quota"),
        ("os.replace", errno.ENOSPC, "disk is full"),
        ("tempfile.mkstemp", errno.EROFS, "read-only"),
        ("tempfile.mkstemp", errno.EACCES, "no permission"),
        ("os.fsync", errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_failing_disk_is_explained_and_the_old_file_stays(
    call: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    monkeypatch.setattr(call, failing(code))
    message = message_of(lambda: write_text(path, "new"))
    monkeypatch.undo()
    assert str(path) in message
    assert words in message
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_met_in_the_middle_of_the_block_is_explained(tmp_path: Path) -> None:
    def write() -> None:
        with written_whole(tmp_path / "f", "wb") as file:
            file.write(b"begun")
            failing(errno.ENOSPC)()

    assert "disk is full" in message_of(write)
    assert os.listdir(tmp_path) == []


def test_a_file_that_stands_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    for call in (lambda: make_folder(tmp_path / "f"), lambda: write_text(tmp_path / "f" / "g", "")):
        message = message_of(call)
        assert str(tmp_path / "f") in message
        assert "a file stands where a folder is needed" in message
    assert "is a file, not a folder" in message_of(lambda: make_folder(tmp_path / "f" / "g"))


def test_a_folder_that_stands_where_the_file_should_go_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f" / "full").mkdir(parents=True)
    assert str(tmp_path / "f") in message_of(lambda: write_text(tmp_path / "f", "new"))
    assert os.listdir(tmp_path) == ["f"]


def test_a_read_only_file_system_is_explained_where_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", failing(errno.EROFS))
    message = message_of(lambda: make_folder(tmp_path / "runs"))
    assert str(tmp_path / "runs") in message
    assert "read-only" in message


def test_making_a_folder_twice_is_fine(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's, and CI runs there")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "ours", "")
        (tmp_path / "plain").touch()
        assert os.umask(umask) == umask  # and it is put back
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~umask


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"α": [1, 2.5, None, True], "nested": {"k": "größer"}}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json", "a value") == value
    text = (tmp_path / "v.json").read_text(encoding="utf-8")
    assert "größer" in text  # readable by a person
    assert text.endswith("}\n")
    assert json.loads(text) == value


def test_json_that_cannot_be_said_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "v.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "v.json", object())
    assert read_json(tmp_path / "v.json", "a value") == 1
    assert os.listdir(tmp_path) == ["v.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe", b"not json"])
def test_broken_json_is_named_with_what_was_expected(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_bytes(content)
    message = message_of(lambda: read_json(tmp_path / "v.json", "a genotype"))
    assert message.startswith(f"{tmp_path / 'v.json'}: a genotype expected here")


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    message = message_of(lambda: read_json(tmp_path / "v.json", "a genotype"))
    assert message.startswith(f"{tmp_path / 'v.json'}: a genotype expected here")
    assert "no such file" in message


def test_a_folder_in_place_of_a_json_file_is_named(tmp_path: Path) -> None:
    assert message_of(lambda: read_json(tmp_path, "a genotype")).startswith(f"{tmp_path}: a genotype expected here")


def build(path: Path, error: BaseException | None = None) -> None:
    with folder_written_whole(path) as workshop:
        assert workshop.parent == path.parent
        assert os.listdir(workshop) == []
        (workshop / "rubbish").mkdir()
        (workshop / path.name).mkdir()
        (workshop / path.name / "f").write_text("content")
        assert not path.exists()
        if error:
            raise error


def test_a_folder_appears_with_what_was_built_under_its_name(tmp_path: Path) -> None:
    build(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new") == ["folder"]
    assert (tmp_path / "new" / "folder" / "f").read_text() == "content"


@pytest.mark.parametrize("parent", ["", "new", "new/and/newer"])
def test_a_folder_that_is_not_finished_leaves_nothing_not_even_its_parents(parent: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / parent / "folder", KeyboardInterrupt())
    message = message_of(lambda: build(tmp_path / parent / "folder", OSError(errno.ENOSPC, "")))
    assert message.startswith(f"{tmp_path / parent / 'folder'}: cannot be written: the disk is full")
    assert os.listdir(tmp_path) == ["other"]


def test_a_parent_that_others_have_written_to_meanwhile_stays(tmp_path: Path) -> None:
    def write() -> None:
        with folder_written_whole(tmp_path / "new" / "folder"):
            (tmp_path / "new" / "theirs").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert os.listdir(tmp_path / "new") == ["theirs"]


@pytest.mark.parametrize("kind", ["file", "empty folder", "dangling link"])
def test_what_is_there_already_is_left_as_it_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "folder"
    {"file": path.touch, "empty folder": path.mkdir, "dangling link": lambda: path.symlink_to("nowhere")}[kind]()
    assert message_of(lambda: build(path)).startswith(f"{path}: there already, and left as it is")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_that_another_process_has_built_meanwhile_stays(tmp_path: Path) -> None:
    def race() -> None:
        with folder_written_whole(tmp_path / "folder") as workshop:
            (workshop / "folder").mkdir()
            build(tmp_path / "folder")

    assert message_of(race).startswith(f"{tmp_path / 'folder'}: cannot be written")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["f"]


def test_text_has_the_same_line_ends_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows opens text files so that each \\n becomes \\r\\n, unless it is told otherwise."""
    fdopen = os.fdopen

    def as_on_windows(handle: int, mode: str, **options: Any) -> Any:
        return fdopen(handle, mode, **options | {"newline": options.get("newline") or "\r\n"})

    monkeypatch.setattr(os, "fdopen", as_on_windows)
    write_text(tmp_path / "table.csv", "row,seed\nNAS,0\n")
    assert (tmp_path / "table.csv").read_bytes() == b"row,seed\nNAS,0\n"
