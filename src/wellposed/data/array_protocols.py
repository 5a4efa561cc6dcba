"""What speaks a protocol of arrays (NumPy's, DLPack, buffers), whoever made it: it is one array, and no batches."""

from __future__ import annotations

from array import array
from inspect import getattr_static
from typing import Any

import numpy as np

from ..errors import DataError

_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__")
_COPIES_TO_HOST = ("get", "copy_to_host")  # CuPy, Numba


def speaks_array(value: Any) -> bool:
    """Whether `value` is an array by any protocol; nothing is imported, and no code of its own runs.

    Examples
    --------
    >>> speaks_array(memoryview(b"ab")), speaks_array([1.0]), speaks_array(np.ndarray)
    (True, False, False)
    """
    if isinstance(value, type):
        return False
    return isinstance(value, memoryview | array) or any(_has(value, name) for name in _PROTOCOLS)


def is_sparse(value: Any) -> bool:
    """Whether `value` is a matrix or array of ``scipy.sparse``."""
    return type(value).__module__.startswith("scipy.sparse")


def is_image(value: Any) -> bool:
    """Whether `value` is an image of Pillow: one sample, of shape (height, width) or (height, width, channels)."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def axis_for(data: Any, axis: Any) -> Any:
    """`axis`, or the channels of Pillow's images, which are the last axis; None leaves it to the dimensions."""
    first = data[0] if isinstance(data, list) and data else data
    return -1 if axis is None and is_image(first) else axis


def on_host(value: Any, what: str) -> Any:
    """`value` as something that ``numpy.asarray`` takes: on the CPU, an image with its channels last.

    Raises
    ------
    DataError
        When it is a sparse matrix, or an image of places in a palette.
    """
    if is_sparse(value):
        raise DataError(
            f"{what} is a sparse {type(value).__name__}, and would be filled in here: expected a dense array, as "
            ".toarray() gives"
        )
    if is_image(value):
        if getattr(value, "mode", None) == "P":
            raise DataError(
                f"{what} is an image of mode 'P', whose entries are places in a palette: expected colours, as "
                ".convert('RGB') gives"
            )
        pixels = np.asarray(value)
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    if _has(value, "__cuda_array_interface__"):
        for name in _COPIES_TO_HOST:
            if callable(getattr(value, name, None)):
                return getattr(value, name)()
    if _has(value, "__dlpack__") and not _has(value, "__array__"):
        return np.from_dlpack(value)
    return value


def _has(value: Any, name: str) -> bool:
    return getattr_static(value, name, None) is not None
