"""What the test suites of other libraries claim, asked of wellposed.

Run ``python -m benchmarks.peer_claims``. Each module stands for one peer and lists small claims; the functions, points and
properties are those that the peer's tests are about, the code and the truths are our own.
"""
