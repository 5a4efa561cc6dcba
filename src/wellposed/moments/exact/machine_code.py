"""The compiled sums as machine code: made by numba once, kept on disk, loaded in a tenth of a second without numba."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np
from llvmlite import binding as llvm
from numpy.typing import NDArray

from ...lazy import lazy
from ...own_files import atomic_write
from .kernel_lanes import OpenLanes, Room

kernel = lazy("wellposed.moments.exact.kernel")

_SOURCES = ("kernel", "kernel_blocks", "kernel_lanes", "sums")
_MOST_BYTES = 1 << 25
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_MODE, _FOLDER_MODE = 0o644, 0o755
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH
C_LIBRARY = ("abort", "frexp", "ldexp", "memcpy", "memmove", "memset")
"""The functions that the code may call."""
_POINTER, _WHOLE = ctypes.c_void_p, ctypes.c_int64
_RESULT = _POINTER, _POINTER
_LANES = _WHOLE, _WHOLE, *(_POINTER,) * 4
_FLUSH = ctypes.CFUNCTYPE(ctypes.c_int, *_RESULT, *_LANES)
_REDUCE = ctypes.CFUNCTYPE(ctypes.c_int, *_RESULT, _POINTER, *(_WHOLE,) * 4, *_LANES, *(_POINTER,) * 5)


class Native:
    """The compiled sums, ready to be called; without the GIL, in as many threads as there are `Room` and lanes for.

    Raises
    ------
    ImportError, OSError, RuntimeError
        When there is no numba, or it cannot compile.
    """

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        _show_c_library()
        self._machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=3,
            reloc="pic",
            codemodel="jitdefault",
            jit=True,
        )
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self._machine)
        self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(self._code()))
        self._engine.finalize_object()
        self._flush = _FLUSH(self._engine.get_function_address("flush"))
        self._reduce = {
            itemsize: _REDUCE(self._engine.get_function_address(f"reduce_float{8 * itemsize}"))
            for itemsize in (4, 8)
        }
        nothing = np.zeros(2, dtype=np.int64)
        self._result = nothing, (nothing.ctypes.data, nothing.ctypes.data + 8)

    def reduce_lanes(
        self, x: NDArray[Any], rows: int, rest: int, stride: int, lanes: OpenLanes, room: Room
    ) -> None:
        """Add rows of lanes, `stride` entries apart in the flat `x`, and `rest` entries of one row more."""
        reduce = self._reduce[x.itemsize]
        reduce(*self._result[1], x.ctypes.data, x.size, rows, rest, stride, *lanes.address, *room.addresses)

    def flush(self, lanes: OpenLanes) -> None:
        """Move what the lanes hold into the wide sums."""
        self._flush(*self._result[1], *lanes.address)

    def _code(self) -> bytes:
        """Machine code for this processor, from the disk where it was kept."""
        places = list(self._places())
        for place in places:
            code = _read_code(place, self._head)
            if code:
                return code
        code = self._machine.emit_object(kernel.module(calls=C_LIBRARY))
        _write_code(places, self._head, code)
        return code

    @cached_property
    def _head(self) -> bytes:
        """What the code was made from and for: other sources, another numba or processor need another one."""
        files = [Path(__file__).with_name(f"{name}.py") for name in _SOURCES]
        made_from = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        numba = find_spec("numba")  # which tells where numba is without importing it
        status = os.stat(numba.origin) if numba and numba.origin else None
        by = [
            llvmlite.__version__,
            status and (status.st_size, status.st_mtime_ns),
            llvm.get_process_triple(),
        ]
        for_ = [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
        return json.dumps([made_from, by, for_]).encode()

    def _places(self) -> Iterator[Path]:
        """Where the code may be kept, the best first; a name for each processor, should they share a disk."""
        name = f"sums-{hashlib.sha256(self._head).hexdigest()[:16]}.bin"
        yield Path(__file__).with_name("__pycache__") / name
        cache, told = os.environ.get("XDG_CACHE_HOME"), os.environ.get("NUMBA_CACHE_DIR")
        with suppress(RuntimeError):  # this user has no home
            yield (Path(cache) if cache else Path.home() / ".cache") / "wellposed" / name
        if told:
            yield Path(told) / name


def _show_c_library() -> None:
    """Tell llvmlite where the functions are that it does not find by itself."""
    library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    for name in C_LIBRARY:
        if not llvm.address_of_symbol(name):
            llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)


def _read_code(place: Path, head: bytes) -> bytes | None:
    """The code in a file, None where it is not there, damaged, another one, or others could have written it."""
    try:
        if not _is_ours(place.parent.stat()):
            return None
        with open(os.open(place, _OPEN), "rb") as file:
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) and _is_ours(status)):
                return None
            content = file.read(_MOST_BYTES)
    except OSError:
        return None
    digest, code = content[:32], content[32:].removeprefix(head)
    whole = len(code) + len(head) == len(content) - 32 and hashlib.sha256(content[32:]).digest() == digest
    return code if whole else None


def _is_ours(status: os.stat_result) -> bool:
    """Whether nobody but this user and root can write a file or a folder; the code in it is run."""
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & _OF_OTHERS


def _write_code(places: list[Path], head: bytes, code: bytes) -> None:
    """In the first place that can be written, by this user and root alone."""
    for place in places:
        try:
            place.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            if not _is_ours(place.parent.stat()):
                continue
            with atomic_write(place) as temporary:
                temporary.write_bytes(hashlib.sha256(head + code).digest() + head + code)
                temporary.chmod(_MODE)  # whatever the mask left
        except OSError:
            continue
        return
