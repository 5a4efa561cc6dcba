"""Files of our own: whole or not at all, over nothing that is not ours, and no more of a file than may be read."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wellposed import own_files
from wellposed.errors import ArgumentError, ArtifactError


def is_ours(place: Path) -> bool:
    return place.read_bytes().startswith(b"ours")


def save(place: Path, content: bytes = b"ours, new", *, force: bool = False) -> None:
    own_files.save(place, content, what="a note", is_ours=is_ours, force=force)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel then refuses to write more, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_older_one_of_ours_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"ours, old")
    save(tmp_path / "note")
    assert (tmp_path / "note").read_bytes() == b"ours, new"


@pytest.mark.parametrize("content", [b"print('hello')", b"", b"\x00\xff"])
def test_what_is_not_ours_is_replaced_only_by_force(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "train.py"
    place.write_bytes(content)

    with pytest.raises(ArgumentError, match=r"train.py is there, and is not a note .* --force"):
        save(place)
    assert place.read_bytes() == content

    save(place, force=True)
    assert place.read_bytes() == b"ours, new"


def test_a_link_to_what_is_not_ours_is_no_way_around_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('hello')")
    (tmp_path / "note").symlink_to("train.py")
    with pytest.raises(ArgumentError, match="is there"):
        save(tmp_path / "note")


def test_on_a_full_disk_the_old_file_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "note"
    place.write_bytes(b"ours, old")

    with files_of_at_most(5), pytest.raises(ArtifactError, match=r"cannot be written \(File too large\)"):
        save(place)

    assert place.read_bytes() == b"ours, old"
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


def test_an_interrupt_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with own_files.atomic_write(tmp_path / "note") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"ours")
    (tmp_path / "note").chmod(0o640)
    save(tmp_path / "note")
    assert stat.S_IMODE((tmp_path / "note").stat().st_mode) == 0o640


def test_the_longest_name_that_a_file_may_have_is_written(tmp_path: Path) -> None:
    place = tmp_path / ("ü" * 127)
    save(place)
    assert place.read_bytes() == b"ours, new"


def test_a_pipe_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="not a regular file"):
        own_files.read_bounded(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="not a regular file"):
        save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("path", "said"), [("/dev/zero", "not a regular file"), ("/no/such", "no such file"), ("/", "a folder")]
)
def test_what_is_no_file_is_told(path: str, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        own_files.read_bounded(path)


def test_links_that_go_in_a_circle_are_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert not own_files.is_same_file(tmp_path / "loop", tmp_path / "note")
    with pytest.raises(ArtifactError, match="cannot be written"):
        save(tmp_path / "loop")


def test_no_more_is_read_than_may_be(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"12345")
    assert own_files.read_bounded(tmp_path / "note", most=5) == b"12345"
    with pytest.raises(ArtifactError, match="5 bytes, expected at most 4"):
        own_files.read_bounded(tmp_path / "note", most=4)
