"""The walk finds what ordinary code holds, names it, and keeps it; the scope gives all of it back or says what it could not."""

from __future__ import annotations

import array
import collections
import contextvars
import functools
import io
import itertools
import logging
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from wellposed.errors import TraceWarning
from wellposed.runtime import reachable
from wellposed.runtime.reachable import reach
from wellposed.runtime.torch.restore import preserved

NUMBERS = random.Random(1)
TOTAL = 0
LOG: list[int] = []
LABEL: contextvars.ContextVar[int] = contextvars.ContextVar("LABEL", default=0)
BESIDE = types.ModuleType("beside_the_tests")
BESIDE.noise = np.random.default_rng(0)  # type: ignore[attr-defined]
sys.modules["beside_the_tests"] = BESIDE


class Meta(type):
    made = 0


class Base:
    steps = 0


class Slotted:
    __slots__ = ("count", "empty")

    def __init__(self) -> None:
        self.count = 0


class Row(NamedTuple):
    values: list[int]


@functools.lru_cache
def squared(x: int) -> int:
    return x * x


def counting(start: int) -> Callable[[], int]:
    count = start

    def step() -> int:
        nonlocal count
        count += 1
        return count

    return step


def remembering(x: int, seen: list[int] = []) -> int:  # noqa: B006 - it is the default that is meant
    seen.append(x)
    return len(seen)


def numbers() -> Iterator[int]:
    yield from range(100)


class Everything(Base, metaclass=Meta):
    """Changes something of every kind each time that it is called."""

    ids = itertools.count()

    def __init__(self) -> None:
        self.plain = 0
        self.rows = Row(values=[])
        self.deep: Any = []
        for _ in range(50):
            self.deep = [self.deep]
        self.long = list(range(20_000))
        self.table = np.zeros(4)
        self.view = np.zeros((3, 4))[1:]
        self.bytes, self.array = bytearray(4), array.array("d", [0.0])
        self.slotted = Slotted()
        self.queue: collections.deque[int] = collections.deque(maxlen=3)
        self.order = collections.OrderedDict(a=1, b=2)
        self.names = {"a", "b"}
        self.iterator = iter([1, 2, 3])
        self.pairs = enumerate(iter("abc"))
        self.step = counting(3)
        self.partial = functools.partial(remembering, seen=[])
        self.text = io.StringIO("one two")
        self.generator = torch.Generator().manual_seed(1)
        self.tensor = torch.zeros(3)
        self.tensor.remarks = []  # type: ignore[attr-defined]

    def innermost(self) -> list[Any]:
        inner = self.deep
        while inner and isinstance(inner[0], list):
            inner = inner[0]
        return inner

    def __call__(self) -> None:
        global TOTAL
        TOTAL += 1
        LOG.append(TOTAL)
        LABEL.set(5)
        NUMBERS.random()
        BESIDE.noise.random()  # type: ignore[attr-defined]
        Meta.made += 1
        Everything.steps += 1
        next(Everything.ids)
        self.plain += 1
        self.rows.values.append(1)
        self.innermost().append(1)
        self.long[3] = -1
        self.table += 1
        self.view[0] = 7
        self.bytes[0] += 1
        self.array[0] += 1
        self.slotted.count += 1
        self.slotted.empty = 3
        self.queue.append(1)
        self.order.move_to_end("a")
        self.names.add("c")
        next(self.iterator)
        next(self.pairs)
        self.step()
        self.partial(1)
        remembering(2)
        squared(3)
        self.text.read(2)
        torch.rand(1, generator=self.generator)
        self.tensor += 1
        self.tensor.remarks.append(1)  # type: ignore[attr-defined]


def everything_of(thing: Everything) -> list[Any]:
    """Plain copies of all that a call changes; iterators tell their position by `__reduce__`."""
    return [
        TOTAL, list(LOG), LABEL.get(), NUMBERS.getstate(), str(BESIDE.noise.bit_generator.state),  # type: ignore[attr-defined]
        Meta.made, dict(vars(Everything)).get("steps"), Base.steps, repr(Everything.ids), thing.plain, list(thing.rows.values),
        len(thing.innermost()), thing.long[3], thing.table.tolist(), thing.view.tolist(), bytes(thing.bytes), thing.array[0],
        thing.slotted.count, hasattr(thing.slotted, "empty"), list(thing.queue), list(thing.order), sorted(thing.names),
        thing.iterator.__reduce__()[1:], thing.pairs.__reduce__()[1][1], thing.step.__closure__[0].cell_contents,  # type: ignore[attr-defined]
        list(thing.partial.keywords["seen"]), list((remembering.__defaults__ or ([],))[0]), squared.cache_info(), thing.text.tell(),
        thing.generator.get_state().tolist(), thing.tensor.tolist(), list(thing.tensor.remarks),  # type: ignore[attr-defined]
    ]  # fmt: skip


def test_a_call_that_changes_something_of_every_kind_leaves_none_of_it() -> None:
    thing = Everything()
    before, iterator, order = everything_of(thing), thing.iterator, thing.order
    with preserved(thing):
        thing()
        assert everything_of(thing)[0] == before[0] + 1
    assert everything_of(thing) == before
    assert thing.iterator is iterator
    assert thing.order is order


def test_an_error_leaves_none_of_it_either() -> None:
    thing = Everything()
    before = everything_of(thing)

    def fails() -> None:
        thing()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), preserved(thing):
        fails()
    assert everything_of(thing) == before


def test_a_generator_that_moved_on_is_said_by_its_place() -> None:
    thing = types.SimpleNamespace(stream=numbers())
    with pytest.warns(TraceWarning, match=r"stream: a generator has moved on"), preserved(thing):
        next(thing.stream)


def test_a_generator_that_was_not_touched_is_not_said() -> None:
    with preserved(types.SimpleNamespace(stream=numbers())):
        pass


def test_a_cache_that_held_something_is_said() -> None:
    squared(1)
    with pytest.warns(TraceWarning, match="a cache"), preserved(lambda: squared(2)):
        squared(2)
    squared.cache_clear()


def test_large_data_are_watched_and_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellposed.runtime.snapshot.MOST_BYTES", 100)
    monkeypatch.setattr("wellposed.runtime.torch.restore.MOST_DATA_BYTES", 100)
    data = types.SimpleNamespace(table=np.zeros(1000), rows=torch.zeros(1000))

    def write() -> None:
        data.table[999] = 1
        data.rows[999] = 1

    with pytest.warns(TraceWarning) as said, preserved(data={"train": data}):
        write()
    assert sorted(str(w.message).partition(":")[0] for w in said) == ["train.rows", "train.table"]


def test_a_walk_that_ends_early_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "MOST_OBJECTS", 10)
    with (
        pytest.warns(TraceWarning, match="more objects than a walk looks at"),
        preserved([[i] for i in range(20)]),
    ):
        pass


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: types.SimpleNamespace(encoder=types.SimpleNamespace(rows=[])), "model.encoder.rows"),
        (lambda: {"a": [[]]}, "model.a[0]"),
        (lambda: nn.Sequential(nn.Linear(1, 1)), "model.0.weight"),
    ],
)
def test_a_place_is_written_as_code_would_write_it(make: Callable[[], Any], place: str) -> None:
    root = make()
    found = reach({"model": root})
    places = {found.place(v) for v in found.of(list | torch.Tensor)}
    assert place in places


def test_code_of_installed_packages_is_not_entered() -> None:
    found = reach([nn.Linear(2, 2), np.mean, logging.getLogger])
    assert nn.Linear not in found
    assert not list(found.of(types.ModuleType))


def test_what_belongs_to_other_threads_is_left_to_them() -> None:
    import threading

    event: Any = threading.Event()
    event.seen = []
    with preserved(types.SimpleNamespace(event=event)):
        event.seen.append(1)
    assert event.seen == [1]


def test_a_graph_that_is_kept_is_said_and_one_that_was_used_up_is_not() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())

    def look() -> None:
        with preserved(model, cast=torch.Tensor.double):
            pass

    look()
    loss = model(torch.ones(4, 3)).sum()
    with pytest.warns(TraceWarning, match=r"0\.weight and 1 more: a graph that was built before"):
        look()
    loss.backward()
    look()
