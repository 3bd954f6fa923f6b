"""Logistic regression with an L2 penalty of 1 on standardised features, by Newton's method."""

import numpy as np


def fit(features, copies):
    """Coefficients in raw units; the first feature is 1 for every row, and what belongs to it is not penalised."""
    mean, spread = features.mean(0), features.std(0)
    mean[0], spread = 0.0, np.where(spread > 0, spread, 1.0)
    scaled = (features - mean) / spread
    weights, penalty = np.zeros(scaled.shape[1]), np.r_[0.0, np.ones(scaled.shape[1] - 1)]
    for _ in range(60):
        p = probability(scaled, weights)
        hessian = (scaled.T * (p * (1 - p))) @ scaled + np.diag(penalty + 1e-9)
        weights -= np.linalg.solve(hessian, scaled.T @ (p - copies) + penalty * weights)
    coefficients = weights / spread
    coefficients[0] -= (weights * mean / spread)[1:].sum()
    return coefficients


def probability(features, coefficients):
    return 1 / (1 + np.exp(-features @ coefficients))
