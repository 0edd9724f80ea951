"""What a method returns, checked at the border: a sentence names the method, the hook and what is expected."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from omrl_bench.protocols.rollout import PolicyError

MOST_PARAMETERS = 10**12
LONGEST_REPRESENTATION = 4096  # numbers of a lane


def numbers(value: np.ndarray | None, returned: Any, what: str, expected: tuple[int | str, ...]) -> np.ndarray | None:
    """Return an array once it is real, finite and of the expected shape, or None if the method returned that.

    Args:
        value: What was returned, if it is an array of numbers.
        returned: Else what it was, in words; None for None.
        what: Method and hook.
        expected: Its shape; a word stands for any size.

    Raises:
        PolicyError: if it is something else.
    """
    if value is None and returned is None:
        return None
    shape = ", ".join(map(str, expected))
    wanted = f"expected a NumPy array of real, finite numbers of shape ({shape}), or None"
    if value is None:
        raise PolicyError(f"{what} returned {returned}; {wanted}")
    sizes_fit = len(value.shape) == len(expected) and all(
        isinstance(size, str) or size == own for size, own in zip(expected, value.shape, strict=True)
    )
    if not sizes_fit:
        raise PolicyError(f"{what} returned shape {value.shape}; {wanted}")
    if value.dtype.kind not in "fiu":
        raise PolicyError(f"{what} returned numbers of type {value.dtype.name}; {wanted}")
    if not np.isfinite(value).all():
        raise PolicyError(f"{what} returned NaN or infinity; {wanted}")
    return value


def representation(value: np.ndarray | None, returned: Any, method: str, lanes: int) -> np.ndarray | None:
    """Check what ``representation`` returned, as above."""
    what = f"{method}: representation"
    found = numbers(value, returned, what, (lanes, "size"))
    if found is not None and found.shape[1] > LONGEST_REPRESENTATION:
        raise PolicyError(f"{what} returned {found.shape[1]} numbers of a lane; at most {LONGEST_REPRESENTATION}")
    return found


def attention(value: np.ndarray | None, returned: Any, method: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Check what ``attention_weights`` returned for a context whose ``valid`` has a shape, as above."""
    return numbers(value, returned, f"{method}: attention_weights", shape)


def parameter_count(count: Any, type_name: str, method: str) -> int:
    """Check what ``parameter_count`` returned.

    Raises:
        PolicyError: if it is no count.
    """
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise PolicyError(f"{method}: parameter_count returned a {type_name}; expected an int, 0 for none")
    number = int(count)
    if not 0 <= number <= MOST_PARAMETERS:
        raise PolicyError(f"{method}: parameter_count returned {number}; expected 0 to {MOST_PARAMETERS:.0e}")
    return number


def array_or_words(value: Any) -> tuple[np.ndarray | None, str | None]:
    """What was returned: an array, or in words what else it is; twice None for None."""
    if value is None or isinstance(value, np.ndarray):
        return value, None
    return None, f"a {type(value).__name__}"
