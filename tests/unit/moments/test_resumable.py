"""Reading piece by piece: the same bits after any end, and no checkpoint that is believed wrongly."""

import errno
import json
import threading
import time
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from wellposed.data.source import Piece, Source
from wellposed.errors import ArgumentError, ArtifactError, DataError
from wellposed.moments import Moments, resume
from wellposed.moments import resume as checkpoint
from wellposed.moments.reduction import moments_of_piece
from wellposed.moments.resume import Checkpoint, reduce_source

ROWS = np.random.default_rng(0).normal(size=(70, 3)) * [1.0, 1e6, 1e-6] + [0.0, 1e9, 5.0]


class Rows(Source):
    """Ten rows a piece, from memory; `ends` is raised instead of piece `at`."""

    left_alone = MappingProxyType({})
    ndim = 2

    def __init__(self, *, names=("a", "b", "c"), identity="then", ends=None, at=0, rows=70):
        self.label, self.names, self.identity = "train.parquet", names, identity
        self.rows, self.bytes = rows, ROWS.nbytes
        self.ends, self.at = ends, at
        self.read: list[int] = []
        self.recalled, self.closed = None, False

    @property
    def integers(self):
        """The second column is seen to be none in piece 1."""
        return (True, not ({1, 2, 3} & {*self.read}), False)

    def recall(self, integers):
        self.recalled = integers

    def select(self, columns):
        return self

    def pieces(self, start=0):
        try:
            for number in range(start, 7):
                if self.ends is not None and number == self.at:
                    raise self.ends
                self.read.append(number)
                part = ROWS[10 * number : 10 * number + 10]
                yield Piece(array=part, rows=10, bytes=part.nbytes)
        finally:
            self.closed = True


@pytest.fixture
def file(tmp_path):
    return tmp_path / "train.checkpoint"


@pytest.fixture
def always(monkeypatch):
    """Checkpoints are written after every piece."""
    monkeypatch.setattr(resume, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", 0)


def begin(file, *, at=4, **options):
    """A reading that is interrupted at piece `at`."""
    with pytest.raises(KeyboardInterrupt) as interrupt:
        reduce_source(Rows(ends=KeyboardInterrupt(), at=at), checkpoint=file, **options)
    return interrupt.value


def bits(m):
    return m.to_json()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pieces_give_the_bits_of_the_whole(threads):
    assert bits(reduce_source(Rows(), threads=threads)) == bits(Moments.of(ROWS))


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, None])
def test_threads_that_are_no_number_are_refused(threads):
    with pytest.raises(ArgumentError, match="threads="):
        reduce_source(Rows(), threads=threads)


def test_few_pieces_are_in_memory_at_once(monkeypatch):
    alive, most = set(), 0
    lock = threading.Lock()

    def counted(piece, **options):
        time.sleep(0.002)  # slower than they are read
        moments = moments_of_piece(piece, **options)
        with lock:
            alive.discard(id(piece))
        return moments

    monkeypatch.setattr("wellposed.moments.resume.moments_of_piece", counted)

    class Slow(Rows):
        def pieces(self, start=0):
            nonlocal most
            for piece in super().pieces(start):
                with lock:
                    alive.add(id(piece))
                    most = max(most, len(alive))
                yield piece

    reduce_source(Slow(), threads=2)

    assert 1 <= most <= 3


def test_options_reach_every_piece():
    assert reduce_source(Rows(), axis=1).shape == (3,)
    assert reduce_source(Rows(), axis=()).shape == (1,)


def test_progress_starts_where_the_reading_starts_and_ends_with_everything(file):
    begin(file)
    seen = []
    reduce_source(Rows(), checkpoint=file, progress=lambda *now: seen.append(now))

    assert seen[0] == (480, ROWS.nbytes, 20)
    assert seen[-1] == (ROWS.nbytes, ROWS.nbytes, 70)
    assert [rows for _, _, rows in seen] == [20, 30, 40, 50, 60, 70]


@pytest.mark.parametrize("at", range(1, 7))
def test_what_was_interrupted_goes_on_to_the_same_bits(file, at):
    begin(file, at=at)
    rest = Rows()

    assert bits(reduce_source(rest, checkpoint=file)) == bits(Moments.of(ROWS))
    assert rest.read[0] >= at - 2  # what was in flight is read again, no more
    assert not file.exists()


@pytest.mark.parametrize("option", ["covariance", "quantiles"])
def test_what_was_asked_for_besides_is_resumed_too(file, option):
    if option == "quantiles":
        pytest.importorskip("datasketches")
    options: dict[str, Any] = {option: True}
    whole = reduce_source(Rows(), **options)
    begin(file, at=5, **options)

    assert bits(reduce_source(Rows(), checkpoint=file, **options)) == bits(whole)


def test_what_reading_told_of_the_columns_is_told_again(file):
    begin(file)
    rest = Rows()
    reduce_source(rest, checkpoint=file)

    assert rest.recalled == (True, False, False)


def test_an_interrupt_says_how_to_go_on(file):
    assert begin(file).__notes__ == [f"20 rows are kept in {file}: run the same again to go on"]


def test_before_the_first_piece_there_is_nothing_to_keep(file):
    interrupt = begin(file, at=0)

    assert not hasattr(interrupt, "__notes__")
    assert not file.exists()


def test_an_error_in_a_piece_keeps_what_was_done_before_it_and_closes_the_source(file):
    source = Rows(ends=DataError("row 51 is damaged"), at=5)
    with pytest.raises(DataError, match="row 51 is damaged"):
        reduce_source(source, checkpoint=file)

    assert source.closed
    assert bits(reduce_source(Rows(), checkpoint=file)) == bits(Moments.of(ROWS))


def test_a_callable_that_raises_loses_nothing(file):
    def stop(done, total, rows):
        if rows >= 30:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        reduce_source(Rows(), checkpoint=file, progress=stop)
    rest = Rows()
    reduce_source(rest, checkpoint=file)

    assert rest.read == [3, 4, 5, 6]


def test_no_thread_is_left(file):
    begin(file)

    assert not [t for t in threading.enumerate() if t.name.startswith("wellposed-reduce")]


def test_a_checkpoint_of_a_path_is_removed_and_one_of_an_owner_stays_finished(file, always):
    reduce_source(Rows(), checkpoint=str(file))
    assert not file.exists()
    kept = Checkpoint(file)
    first = reduce_source(Rows(), checkpoint=kept)
    again = Rows()

    assert bits(reduce_source(again, checkpoint=kept)) == bits(first)
    assert again.read == []
    kept.discard()
    assert list(file.parent.iterdir()) == []


def test_a_checkpoint_is_finished_however_short_the_work(file):
    reduce_source(Rows(), checkpoint=Checkpoint(file))

    assert json.loads(file.read_text())["body"]["pieces"] == 7


def test_checkpoints_are_written_now_and_then_and_not_at_every_piece(file, monkeypatch):
    written = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, begun, done: written.append(done.pieces))
    monkeypatch.setattr(resume.time, "monotonic", iter(np.arange(0, 1000, 1.6)).__next__)
    reduce_source(Rows(), checkpoint=file)

    assert 1 <= len(written) <= 3


def test_a_full_disk_is_told_once_and_the_work_goes_on(file, always, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device") as told:
        found = reduce_source(Rows(), checkpoint=file)

    assert len(told) == 1
    assert bits(found) == bits(Moments.of(ROWS))
    assert list(file.parent.iterdir()) == []


def test_a_disk_that_is_full_at_the_interrupt_leaves_the_older_checkpoint(file, monkeypatch):
    begin(file, at=3)
    before = file.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    interrupt = begin(file, at=6)

    assert "could not be written (No space left on device)" in interrupt.__notes__[0]
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"names": ("a", "b", "d")}, "without d and with c"),
        ({"names": ("b", "a", "c")}, "in another order"),
        ({"identity": "now"}, "have changed since"),
        ({"rows": 80}, "rows 70, and now it is 80"),
    ],
)
def test_a_checkpoint_of_other_data_is_refused_and_stays(file, other, said):
    begin(file)
    before = file.read_bytes()
    with pytest.raises(ArtifactError, match=said) as refused:
        reduce_source(Rows(**other), checkpoint=file)

    assert "delete it to start again" in str(refused.value)
    assert file.read_bytes() == before


def test_a_checkpoint_of_other_options_is_refused(file):
    begin(file, axis=1)
    with pytest.raises(ArtifactError, match=r"axis 1, and now it is None"):
        reduce_source(Rows(), checkpoint=file)


def test_a_checkpoint_of_another_version_is_refused(file, monkeypatch):
    begin(file)
    monkeypatch.setattr("wellposed.moments.resume.__version__", "99.0")
    with pytest.raises(ArtifactError, match=r"and this is 99\.0"):
        reduce_source(Rows(), checkpoint=file)


def test_a_checkpoint_cut_anywhere_is_refused(file):
    begin(file)
    whole = file.read_bytes()
    for end in [*range(0, len(whole) - 2, max(1, len(whole) // 97)), len(whole) - 2]:
        file.write_bytes(whole[:end])
        with pytest.raises(ArtifactError, match=r"delete it to start again|not a checkpoint"):
            reduce_source(Rows(), checkpoint=file)


def test_a_checkpoint_with_one_digit_changed_is_refused(file):
    begin(file)
    whole = file.read_bytes()
    body = whole.index(b'"body"')
    digits = [i for i, byte in enumerate(whole) if i > body and chr(byte).isdigit()]
    for i in digits[:: max(1, len(digits) // 53)]:
        file.write_bytes(whole[:i] + (b"1" if whole[i : i + 1] != b"1" else b"2") + whole[i + 1 :])
        with pytest.raises(ArtifactError, match="delete it to start again"):
            reduce_source(Rows(), checkpoint=file)


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[[[[", b"not ours", b"a,b\n1,2\n", bytes(range(256)), b"PAR1" + bytes(99)],
)
def test_a_file_that_is_no_checkpoint_is_refused_and_stays_and_nobody_is_told_to_delete_it(file, text):
    file.write_bytes(text)
    with pytest.raises(ArtifactError, match="not a checkpoint") as refused:
        reduce_source(Rows(), checkpoint=file)

    assert "delete" not in str(refused.value)
    assert file.read_bytes() == text


def test_a_checkpoint_nested_without_end_is_refused(file):
    file.write_text('{"format": "wellposed-checkpoint", ' + '"a":[' * 100_000)
    with pytest.raises(ArtifactError, match="damaged"):
        reduce_source(Rows(), checkpoint=file)


def test_what_cannot_be_read_again_as_the_same_has_no_checkpoint(file):
    with pytest.raises(ArgumentError, match="only files can be resumed"):
        reduce_source(Rows(identity=""), checkpoint=file)


def test_a_checkpoint_may_lie_elsewhere_and_leaves_nothing_there(file, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file.symlink_to(elsewhere / "c")
    begin(file)
    left, another = f".c.{'0' * 16}.tmp", f".c.d.{'0' * 16}.tmp"  # of this checkpoint, and of "c.d"
    for name in (left, another):
        (elsewhere / name).touch()

    assert file.is_symlink()
    rest = Rows()
    reduce_source(rest, checkpoint=file)

    assert rest.read[0] > 0
    assert [p.name for p in elsewhere.iterdir()] == [another]


@pytest.mark.parametrize("place", ["", "no/such/folder/c"])
def test_a_place_that_cannot_hold_a_checkpoint_is_refused_before_the_work(tmp_path, place):
    source = Rows()
    with pytest.raises(ArgumentError, match="expected a file in a folder that can be written"):
        reduce_source(source, checkpoint=tmp_path / place)

    assert source.read == []


def test_rows_that_do_not_add_up_are_an_error(file):
    with pytest.raises(DataError, match="70 rows were read, expected 71"):
        reduce_source(Rows(rows=71))
