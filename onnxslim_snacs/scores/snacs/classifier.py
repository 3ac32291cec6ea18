"""A small classifier in closed form: RBF features at landmarks, then ridge regression.

It stands for the support vector machine of the release (method 3.8) and is only asked how well
classes can be told apart from pooled activations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_LANDMARKS = 64
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class RbfRidge:
    """A fitted classifier.

    Attributes:
        mean: axis (feature).
        scale: reciprocal standard deviations, 0 for constant features, axis (feature).
        landmarks: standardised rows, axes (landmark, feature).
        width: features that vary, the kernel's squared width.
        weights: axes (landmark, class).
        offset: axis (class).
        classes: the labels, axis (class).
    """

    mean: FloatArray
    scale: FloatArray
    landmarks: FloatArray
    width: int
    weights: FloatArray
    offset: FloatArray
    classes: npt.NDArray[np.int64]

    def predict(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """Classify rows.

        Args:
            features: axes (..., feature).

        Returns:
            Labels, axes (...).
        """
        rows = features.reshape(-1, features.shape[-1]).astype(np.float32, copy=False)
        rows = (rows - self.mean.astype(np.float32)) * self.scale.astype(np.float32)
        kernel = _kernel(rows, self.landmarks, self.width)
        votes = kernel @ self.weights.astype(np.float32)
        best = np.argmax(votes + self.offset.astype(np.float32), axis=1)
        labels: npt.NDArray[np.int64] = self.classes[best].reshape(features.shape[:-1])
        return labels


def fit_rbf_ridge(
    features: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> RbfRidge:
    """Fit one-against-rest ridge regression on RBF features of standardised rows.

    The kernel's width is scikit-learn's "scale": 1 / number of features that vary.

    Args:
        features: axes (sample, feature).
        labels: axis (sample).
        rng: chooses at most 64 landmarks among the rows.

    Returns:
        The classifier.
    """
    features = features.astype(np.float64, copy=False)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    varies = spread > 1e-12 * np.maximum(np.abs(features).max(axis=0), 1e-300)
    scale = np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0)
    rows = (features - mean) * scale
    landmarks = rows[rng.permutation(len(rows))[:_LANDMARKS]]
    width = max(1, int(np.count_nonzero(varies)))
    kernel = _kernel(rows, landmarks, width).astype(np.float64)
    classes, numbers = np.unique(labels, return_inverse=True)
    targets = np.eye(len(classes))[numbers]
    centred = kernel - kernel.mean(axis=0)
    gram = centred.T @ centred / len(rows)
    # Nystrom: penalise the norm in the kernel's own space
    penalty = _kernel(landmarks, landmarks, width) + 1e-6 * np.eye(len(landmarks))
    weights = np.linalg.solve(
        gram + _RIDGE * penalty, centred.T @ (targets - targets.mean(axis=0)) / len(rows)
    )
    offset = targets.mean(axis=0) - kernel.mean(axis=0) @ weights
    return RbfRidge(
        mean=mean,
        scale=scale,
        landmarks=landmarks,
        width=width,
        weights=weights,
        offset=offset,
        classes=classes,
    )


def _kernel(
    rows: npt.NDArray[np.floating], landmarks: FloatArray, width: int
) -> npt.NDArray[np.float32]:
    """Give exp(-|a - b|^2 / width), axes (row, landmark); float32 for speed, it is a feature.

    The exponent is one product: (a, |a|^2, 1) with (2 b, -1, -|b|^2), divided by the width.
    """
    a, b = rows.astype(np.float32, copy=False), landmarks.astype(np.float32)
    ones = np.ones((len(a), 1), dtype=np.float32)
    left = np.concatenate([a, np.square(a).sum(axis=1, keepdims=True), ones], axis=1)
    right = np.concatenate(
        [2 * b, -np.ones((len(b), 1), dtype=np.float32), -np.square(b).sum(axis=1, keepdims=True)],
        axis=1,
    )
    exponent = left @ (right / np.float32(width)).T
    kernel: npt.NDArray[np.float32] = np.exp(exponent, out=exponent)
    return kernel
