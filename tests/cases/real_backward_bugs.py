"""Backward passes that were wrong in released code, rebuilt small, each beside its mended version.

Every case keeps what made the bug reachable (several sequences in a batch, uneven cotangents, views of one projection, variances
far from 1), because on the inputs of its own unit test each of them looked right. Where the original is a GPU kernel whose mechanism is not
public, the docstring says what stands in for it.

`case.build(wrong)` gives ``(f, inputs, gradient)`` for ``check_gradients(f, *inputs, gradient=gradient)``.
"""

from __future__ import annotations

from . import real_jax_bugs, real_norm_bugs, real_reduction_bugs, real_strided_bugs

REAL_BUGS = (*real_strided_bugs.BUGS, *real_reduction_bugs.BUGS, *real_norm_bugs.BUGS, *real_jax_bugs.BUGS)
