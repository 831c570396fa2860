"""Test kits: how a compute context or an operator of your own proves itself. They need the `test` extra."""

from typing import TYPE_CHECKING

import pytest

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.testing.operators import OperatorReport, check_operator

__all__ = ["OperatorReport", "check_operator"]

pytest.register_assert_rewrite("blockflow.testing.compute")

__getattr__ = lazy_names(
    __name__, dict.fromkeys(("OperatorReport", "check_operator"), "blockflow.testing.operators")
)
