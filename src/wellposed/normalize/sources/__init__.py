"""Files and tables, by one door: `open_source` gives a `Source`, which is read `Piece` by `Piece`."""

from .opening import open_source
from .source import Piece, Source
from .writing import apply

__all__ = ["Piece", "Source", "apply", "open_source"]
