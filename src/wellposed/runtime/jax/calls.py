"""A pure function of arrays, its pullback and its pushforward: compiled once where JAX can trace it, else run operation by operation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, UserCodeError, users_code

Outputs = list[NDArray[Any]]
Pure = Callable[[list[jax.Array]], list[jax.Array]]

UNTRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
"""What JAX raises when code needs the values that an abstract array does not have: the code may still run on real ones."""


class Calls:
    """How one check calls `f`: each call in the same 64-bit mode, from the same random state, and on arrays of its own."""

    def __init__(self, f: Pure, *, wide: bool, seed: int) -> None:
        self._wide, self._seed = wide, seed
        self.compiled = True

        def pulled(leaves: list[jax.Array], cotangents: list[jax.Array]) -> tuple[Any, Any]:
            outputs, pullback = jax.vjp(f, leaves)
            return outputs, pullback(cotangents)[0]

        def pushed(leaves: list[jax.Array], tangents: list[jax.Array]) -> tuple[Any, Any]:
            return jax.jvp(f, (leaves,), (tangents,))

        self._plain = {"forward": f, "pull": pulled, "push": pushed}
        self._jitted = {kind: jax.jit(function) for kind, function in self._plain.items()}

    def outputs(self, made: Callable[[], list[jax.Array]]) -> Outputs:
        return self._run("forward", made, what="f")

    def pullback(
        self, made: Callable[[], list[jax.Array]], cotangents: Sequence[NDArray[Any]]
    ) -> tuple[Outputs, Outputs]:
        """The outputs, and the cotangents of the leaves."""
        return self._run("pull", made, cotangents, what="the backward pass")

    def pushforward(
        self, made: Callable[[], list[jax.Array]], tangents: Sequence[NDArray[Any]]
    ) -> tuple[Outputs, Outputs]:
        """The outputs, and their tangents."""
        try:
            return self._run("push", made, tangents, what="forward mode")
        except UserCodeError as error:
            if "custom_vjp" in str(error.__cause__):
                raise ArgumentError(
                    "f has no forward mode, for it holds a jax.custom_vjp: check it with mode='reverse', or define it with jax.custom_jvp"
                ) from error
            raise

    def _run(
        self, kind: str, made: Callable[[], list[jax.Array]], *given: Sequence[NDArray[Any]], what: str
    ) -> Any:
        with self._scope(), users_code(what):
            if self.compiled:
                try:
                    return _fetched(self._jitted[kind](made(), *_put(given)))
                except UNTRACEABLE:
                    self.compiled = False
            return _fetched(self._plain[kind](made(), *_put(given)))

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """The 64-bit mode of this check, and NumPy's and Python's random numbers from the seed: tracing draws from them too."""
        legacy, plain = np.random.get_state(), random.getstate()  # noqa: NPY002 - the user's code draws from it
        np.random.seed(self._seed % 2**32)  # noqa: NPY002
        random.seed(self._seed)
        try:
            # A value that is not finite some way off is an answer here, and no error.
            with enable_x64(self._wide), jax.debug_nans(False), jax.debug_infs(False):
                yield
        finally:
            np.random.set_state(legacy)  # noqa: NPY002
            random.setstate(plain)


def enable_x64(wide: bool) -> Any:
    """64-bit mode, on or off, for a while and for this thread alone."""
    where = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")  # before JAX 0.8
    return where.enable_x64(wide)


def is_wide() -> bool:
    return bool(jax.config.read("jax_enable_x64"))


def _put(given: Sequence[Sequence[NDArray[Any]]]) -> list[list[jax.Array]]:
    return [[jax.numpy.asarray(a) for a in arrays] for arrays in given]


def _fetched(results: Any) -> Any:
    return jax.tree_util.tree_map(np.asarray, results)
