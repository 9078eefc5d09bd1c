import pytest

pytest.register_assert_rewrite("tests.plugins.cases")  # so that its asserts show what differs
