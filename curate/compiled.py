"""Loops over millions of rows or pixels as machine code, where numpy would need a pass and an array for every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """*function* as machine code: compiled at its first call, kept for later runs, Python's lock free while it runs.

    Integer arithmetic wraps and division by zero gives inf, as numpy does it. Only modules of kernels import this:
    numba takes a third of a second to import.
    """
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
