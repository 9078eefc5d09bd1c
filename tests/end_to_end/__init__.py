"""The product as a user runs it."""

import pytest

pytest.register_assert_rewrite("tests.end_to_end.load", "tests.end_to_end.processes")
