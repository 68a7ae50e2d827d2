import pytest
from refusals import refusal

from stages.reporting.results import RESULTS, results_folder


def test_a_name_is_a_folder_of_the_results():
    assert results_folder("seed_short") == RESULTS / "seed_short"


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "/tmp", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    assert refusal(results_folder, name) == (
        f"'{name}': not the name of a folder in docs/results, as in 'cifar10'")
