"""What is wrong with a gradient that fails: where the error is, and which kind of bug explains it.

`explain` walks the table of hypotheses, `localize` finds the place, `evidence` holds the derivatives that every hypothesis is held against.
`whole_tensor`: sign-flipped, scaled, missing-mean, zero, missing-l2, transposed; `permuted`: the right numbers in the wrong places;
`part_of_tensor`: mask, sparse, accumulate; `through_sums`: missing-term; `another_point`: stale. Two names are given elsewhere: a gradient
that is not finite in `gradcheck/verdict.py`, and the transposed Jacobian of a NumPy function in `gradcheck/numpy_functions.py`.
"""
