"""A normalizer as an ONNX model."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arguments import choice, flag
from ...errors import ArtifactError, MissingDependency
from ...own_files import read_bounded, save
from ..affine import AffineMap, affine_map

if TYPE_CHECKING:
    from ..fitted import FittedTransform

_PRODUCER = "wellposed"
_OPSET = 13  # the first in which all these operators take float64; runtimes since 2021 have it
_IR_VERSION = 8
_DTYPES = (
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)


def to_onnx(
    normalizer: FittedTransform,
    path: str | PathLike[str] | None = None,
    *,
    dtype: str = "float32",
    force: bool = False,
) -> Any:
    """An ONNX model that normalises batches of any size, worked in float64 inside and rounded once.

    Its input is ``x`` and its output ``z``. Rows, and axes that share their statistics, may have any size. The
    metadata hold the method, the rows, the fingerprint and the version of the fit.

    Parameters
    ----------
    normalizer
        A fitted normalizer.
    path
        Where to write the model too.
    dtype
        Of the input, and of the output where it is a floating point type; integers give float32. Quantised
        models are not made, so ``"int8"`` is refused.
    force
        Replace a file that is no model of ours too.

    Returns
    -------
    onnx.ModelProto
        Of opset 13, checked.

    Raises
    ------
    ArgumentError
        When `dtype` is not known.
    ArtifactError
        When the file cannot be written.
    MissingDependency
        When onnx is not installed.

    Examples
    --------
    >>> import numpy as np, wellposed as wp
    >>> model = to_onnx(wp.Normalizer.fit(np.array([[1.0], [4.0]])))
    >>> [node.op_type for node in model.graph.node]
    ['Cast', 'Sub', 'Div', 'Cast']
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency(
            "to_onnx() needs onnx, which is not installed: pip install 'wellposed[onnx]'"
        ) from error
    choice(dtype, "dtype", _DTYPES)
    flag(force, "force")
    affine = affine_map(normalizer)
    result = dtype if dtype.startswith("float") else "float32"
    graph = _Graph(onnx, affine)
    graph.add("Cast", "x", to=onnx.TensorProto.DOUBLE)
    graph.add("Sub", graph.last, graph.constant("center", affine.center))
    graph.add("Div", graph.last, graph.constant("scale", affine.scale))
    if affine.offset is not None:
        graph.add("Add", graph.last, graph.constant("offset", affine.offset))
    if affine.rotation is not None and affine.mixed.any():
        _rotate(graph, affine, normalizer.ndim)
    _clip(graph, affine)
    graph.add("Cast", graph.last, to=_element(onnx, result), out="z")
    dims = _dims(affine, normalizer.ndim)
    model = onnx.helper.make_model(
        graph.proto(x=(_element(onnx, dtype), dims), z=(_element(onnx, result), dims)),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name=_PRODUCER,
        producer_version=normalizer.provenance.version,
    )
    record = normalizer.provenance
    facts = {"method": normalizer.method, "rows": str(record.rows), "fingerprint": record.fingerprint}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        save(path, model.SerializeToString(), what="an ONNX model", is_ours=_is_ours, force=force)
    return model


class _Graph:
    """A chain of nodes: each takes the one before it."""

    def __init__(self, onnx: Any, affine: AffineMap) -> None:
        self._onnx, self.affine, self.last = onnx, affine, "x"
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, values: Any) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.array(values), name))
        return name

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        self.last = out or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [self.last], **attributes))
        return self.last

    def proto(self, *, x: tuple[int, list[Any]], z: tuple[int, list[Any]]) -> Any:
        ends = [self._onnx.helper.make_tensor_value_info(n, *v) for n, v in (("x", x), ("z", z))]
        return self._onnx.helper.make_graph(
            self._nodes, "normalize", ends[:1], ends[1:], initializer=self._constants
        )


def _rotate(graph: _Graph, affine: AffineMap, ndim: int) -> None:
    order = [*range(ndim)]
    axis = ndim + affine.kept[0] if affine.kept else ndim - 1
    order[axis], order[-1] = order[-1], order[axis]
    if axis != ndim - 1:
        graph.add("Transpose", graph.last, perm=order)
    before = graph.last
    if affine.mixed.all():
        graph.add("MatMul", before, graph.constant("rotation", affine.rotation))
    else:  # columns that are not mixed must not spread their NaN: 0 times NaN is NaN
        mixed = graph.constant("mixed", affine.mixed)
        held = graph.add("Where", mixed, before, graph.constant("nothing", np.zeros(1)))
        rotated = graph.add("MatMul", held, graph.constant("rotation", affine.rotation))
        graph.add("Where", mixed, rotated, before)
    if axis != ndim - 1:
        graph.add("Transpose", graph.last, perm=order)


def _clip(graph: _Graph, affine: AffineMap) -> None:
    """By comparison, which is false for NaN: what Min and Max make of it, runtimes do not agree on."""
    for name, operator, bound in (("least", "Less", affine.least), ("most", "Greater", affine.most)):
        if bound is not None:
            before, held = graph.last, graph.constant(name, bound)
            graph.add("Where", graph.add(operator, before, held), held, before)


def _dims(affine: AffineMap, ndim: int) -> list[Any]:
    sizes = dict(
        zip([ndim + a for a in affine.kept], [affine.center.shape[a] for a in affine.kept], strict=True)
    )
    return [sizes.get(axis, f"axis_{axis}" if axis else "rows") for axis in range(ndim)]


def _element(onnx: Any, dtype: str) -> int:
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _is_ours(place: Path) -> bool:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model_from_string(read_bounded(place)).producer_name == _PRODUCER
    except (ArtifactError, DecodeError):
        return False
