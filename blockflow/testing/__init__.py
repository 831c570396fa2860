"""Test kits: what a compute context of your own subclasses to prove itself. They need the `test` extra."""

import pytest

__all__: list[str] = []

pytest.register_assert_rewrite("blockflow.testing.compute")
