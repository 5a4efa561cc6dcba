"""What is wrong with a gradient that fails: where the error is, and which kind of bug explains it."""
