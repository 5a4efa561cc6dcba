"""Values whose public class is defined on top of the files that make them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar, Self, cast

import numpy as np


class PlainValue:
    """A frozen dataclass of read-only arrays that its one direct subclass, the class that users know, adds methods to.

    Files below that subclass make instances of it with `made`. Subclasses of the subclass, which users may write, change nothing.
    """

    _public: ClassVar[type]

    def __init_subclass__(cls) -> None:
        for base in cls.__bases__:
            if PlainValue in base.__bases__:
                base._public = cls

    @classmethod
    def made(cls, **parts: Any) -> Self:
        """An instance of the public class."""
        return cast(type[Self], cls._public)(**parts)

    def __post_init__(self) -> None:
        for each in fields(cast(Any, self)):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
