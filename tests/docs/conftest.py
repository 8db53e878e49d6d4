"""Tests of what is kept."""

import pytest


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""
