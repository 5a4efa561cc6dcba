"""Sums of columns without rounding: Σx and Σx² as wide integers.

`accumulator` takes rows in and hands them to one of two ways with the same result: `numpy_sums`, and from some eight million entries
on the compiled `kernel` (with `kernel_blocks`, `kernel_lanes`), which `machine_code` keeps on disk and loads without numba. Tensors on an
accelerator are summed there by `torch_sums`. The sums are `sums.ExactSums`; `rounding` turns them into the nearest float64, once.
"""
