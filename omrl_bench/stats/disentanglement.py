"""How a code holds the factors that tasks differ in: DCI and InfoMEC.

DCI (Eastwood and Williams 2018): disentanglement, completeness, informativeness, from the weights of a lasso of each
factor on the code. InfoMEC (Hsu et al. 2023): modularity, explicitness, compactness, from the information that each
dimension of the code has of each factor. All are 0 to 1, the same whatever the scale, sign and order of the dimensions,
and higher where one dimension stands for one factor.

Factors are a task's descriptor. What both assume of factors, descriptors do not always keep; there a measure is NaN:

* one factor (a velocity): every code is disentangled and modular, so both are left out;
* factors that tell of one another (cosine and sine of a direction): information cannot be laid at the door of one of
  them, so modularity and compactness are left out; DCI needs factors that are not correlated only;
* more than :data:`MOST_FACTORS` (the 60 multipliers of a robot), or fewer than :data:`FEWEST_TASKS` tasks: all.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import xlogy
from scipy.stats import chi2
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoCV, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

FEWEST_TASKS = 30
MOST_FACTORS = 10
BINS = 5  # of equal frequency, for information
_PENALTIES = 20  # of the lasso's path
_RIDGE = 10.0 ** np.arange(-6, 4)
_CHANCE = 0.001  # that a code without information seems to have some; with 40 to 100 tasks it is up to 0.01
NAMES = ("disentanglement", "completeness", "informativeness", "modularity", "explicitness", "compactness")


def disentanglement(code: np.ndarray, factors: np.ndarray) -> dict[str, float]:
    """DCI and InfoMEC of a code.

    Args:
        code: (tasks, size), one embedding of each task: rows are to be independent.
        factors: (tasks, factors), true parameters.

    Returns:
        By name, :data:`NAMES`; NaN where a measure is not defined.
    """
    factors = factors[:, factors.std(axis=0) > 0] if len(factors) else factors
    if len(code) < FEWEST_TASKS or not 0 < factors.shape[1] <= MOST_FACTORS:
        return dict.fromkeys(NAMES, float("nan"))
    code, factors = _standardised(code), _standardised(factors)
    folds = KFold(5, shuffle=True, random_state=0)
    weights, informativeness = _lasso_weights(code, factors, folds)
    predicted = cross_val_predict(RidgeCV(alphas=_RIDGE), code, factors, cv=folds).reshape(factors.shape)
    information = normalised_information(code, factors)
    active = information[information.any(axis=1)]  # dimensions that tell of any factor
    alone = factors.shape[1] == 1
    among = normalised_information(factors, factors)
    dependent = bool((among - np.diag(np.diag(among))).any())
    return {
        "disentanglement": float("nan") if alone else _disentanglement(weights),
        "completeness": _completeness(weights),
        "informativeness": informativeness,
        "modularity": float("nan") if alone or dependent else _largest_share(active),
        "explicitness": float(np.clip(1 - ((factors - predicted) ** 2).mean(axis=0), 0, 1).mean()),
        "compactness": float("nan") if dependent else _largest_share(active.T),
    }


def normalised_information(code: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Mutual information of each dimension with each factor, over the factor's entropy: (size, factors), 0 to 1.

    Both are cut into bins of equal frequency. What independent bins would show by chance (the G test, with Bonferroni's
    correction over all pairs) is 0: estimates of no information are not, and the largest of many less so.
    """
    size, count = len(code), code.shape[1] * factors.shape[1]
    x, y = _in_bins(code), _in_bins(factors)
    joint = np.einsum("nib,njc->ijbc", x, y) / size
    of_code, of_factor = x.mean(axis=0), y.mean(axis=0)
    entropy = -xlogy(of_factor, of_factor).sum(axis=1)
    information = xlogy(joint, joint).sum(axis=(2, 3)) - xlogy(of_code, of_code).sum(axis=1)[:, None] + entropy[None, :]
    degrees = np.multiply.outer((of_code > 0).sum(axis=1) - 1, (of_factor > 0).sum(axis=1) - 1)
    chance = chi2.isf(_CHANCE / count, np.maximum(degrees, 1)) / (2 * size)
    return np.where((information > chance) & (degrees > 0), information / np.maximum(entropy, 1e-12), 0.0)


def _lasso_weights(code: np.ndarray, factors: np.ndarray, folds: KFold) -> tuple[np.ndarray, float]:
    """Absolute weights (size, factors), and the mean R^2 for tasks that were not fitted.

    The penalty is the largest whose error is within one standard error of the least (Hastie et al. 2009, section 7.10):
    noise then has no weights, where the least error would give it some.
    """
    weights, explained = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at penalties that are not chosen
        for factor in factors.T:
            path = LassoCV(alphas=_PENALTIES, cv=folds, precompute=True).fit(code, factor)
            errors = path.mse_path_.mean(axis=1)
            best = errors.argmin()
            margin = path.mse_path_[best].std(ddof=1) / np.sqrt(folds.get_n_splits())
            chosen = int((errors <= errors[best] + margin).argmax())  # penalties fall
            weights.append(np.abs(Lasso(alpha=path.alphas_[chosen]).fit(code, factor).coef_))
            explained.append(1 - errors[chosen])
    return np.array(weights).T, float(np.clip(explained, 0, 1).mean())


def _disentanglement(weights: np.ndarray) -> float:
    """Weighted mean over dimensions of 1 - entropy of their weights over the factors; 0 without any weight."""
    total = weights.sum()
    return float((weights.sum(axis=1) * (1 - _entropy(weights))).sum() / total) if total > 0 else 0.0


def _completeness(weights: np.ndarray) -> float:
    """Mean over factors of 1 - entropy of their weights over the dimensions; 0 of a factor without any weight."""
    return float(np.where(weights.any(axis=0), 1 - _entropy(weights.T), 0).mean())


def _entropy(weights: np.ndarray) -> np.ndarray:
    """Of each row, in units of the largest possible; 0 in a single column."""
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    entropy: np.ndarray = -xlogy(share, share).sum(axis=1) / np.log(max(weights.shape[1], 2))
    return entropy


def _largest_share(information: np.ndarray) -> float:
    """Mean over rows of their largest share, from 0 (all columns alike) to 1 (all in one); 0 of a row of zeros.

    Rows are active dimensions and columns factors; for compactness the other way round.
    """
    columns = information.shape[1]
    if not information.any():
        return 0.0
    share = information.max(axis=1) / np.maximum(information.sum(axis=1), 1e-300)
    return float(np.clip((share - 1 / columns) / (1 - 1 / columns), 0, 1).mean()) if columns > 1 else 1.0


def _in_bins(values: np.ndarray) -> np.ndarray:
    """(n, columns) as members of bins, (n, columns, BINS), 0 or 1."""
    edges = np.quantile(values, np.arange(1, BINS) / BINS, axis=0)
    members: np.ndarray = (values[:, None] > edges).sum(axis=1)[..., None] == np.arange(BINS)
    return members.astype(float)


def _standardised(values: np.ndarray) -> np.ndarray:
    spread = values.std(axis=0)
    standard: np.ndarray = (values - values.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    return standard
