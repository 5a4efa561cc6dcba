"""A course exercise: a network with one hidden layer in NumPy, and its gradient by hand.

``wellposed gradcheck examples/backward_numpy.py:network`` and ``...:forgetful``, which forgets to divide by m.
"""

import numpy as np

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(3, 20)), (rng.random((1, 20)) < 0.5).astype(float)
W1, b1 = rng.normal(size=(4, 3)) / np.sqrt(3), np.zeros((4, 1))
W2, b2 = rng.normal(size=(1, 4)) / np.sqrt(4), np.zeros((1, 1))


def cost(W1, b1, W2, b2):
    """Mean cross-entropy of a sigmoid output over the m columns of X."""
    z2 = W2 @ np.tanh(W1 @ X + b1) + b2
    return np.mean(np.logaddexp(0, z2) - Y * z2)


def gradient(W1, b1, W2, b2):
    m = X.shape[1]
    a1 = np.tanh(W1 @ X + b1)
    dz2 = 1 / (1 + np.exp(-(W2 @ a1 + b2))) - Y
    dz1 = (W2.T @ dz2) * (1 - a1**2)
    dW1, db1 = dz1 @ X.T / m, dz1.sum(axis=1, keepdims=True) / m
    dW2, db2 = dz2 @ a1.T / m, dz2.sum(axis=1, keepdims=True) / m
    return dW1, db1, dW2, db2


def without_mean(*parameters):
    return tuple(X.shape[1] * g for g in gradient(*parameters))


network = {"f": cost, "inputs": (W1, b1, W2, b2), "gradient": gradient}
forgetful = {"f": cost, "inputs": (W1, b1, W2, b2), "gradient": without_mean}
