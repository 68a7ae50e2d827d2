import argparse

import pytest

from benchmarks.arguments import count


@pytest.mark.parametrize("text", ["1", "300"])
def test_whole_numbers_from_1(text):
    assert count(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", "", "²"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number from 1"):
        count(text)
