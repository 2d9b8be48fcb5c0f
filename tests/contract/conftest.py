"""The suites are modules of no test of their own; say what their assertions compared too."""

import pytest

pytest.register_assert_rewrite("contract")
