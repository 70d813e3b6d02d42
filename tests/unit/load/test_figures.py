"""The benchmark's arithmetic and its report."""

import random

import pytest

from tests.load.figures import BEGIN, END, Table, percentile, shown, written


def test_the_median_of_an_even_number_of_values_is_the_lower_one_in_the_middle() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0


def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed() -> None:
    values = [float(n) for n in range(1, 101)]
    random.Random(7).shuffle(values)
    found = [percentile(values, share) for share in (0.01, 0.07, 0.5, 0.99, 0.991, 1.0)]
    assert found == [1.0, 7.0, 50.0, 99.0, 100.0, 100.0]


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert {percentile([3.5], share) for share in (0.001, 0.5, 0.99, 1.0)} == {3.5}


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.01)])
def test_a_percentile_of_nothing_or_outside_of_the_values_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_a_figure_has_the_digits_that_say_something() -> None:
    assert [shown(v) for v in (12345.6, 999.94, 87.12, 4.214, 0.0521)] == ["12,346", "999.9", "87.1", "4.21", "0.052"]


def test_a_table_is_markdown_with_aligned_columns() -> None:
    table = Table("Calls", ("road", "calls/s"), (("direct", "1,234"), ("through the edge", "9.1")), "A note.")
    assert table.markdown().splitlines() == [
        "### Calls",
        "",
        "| road             | calls/s |",
        "| ---------------- | ------: |",
        "| direct           |   1,234 |",
        "| through the edge |     9.1 |",
        "",
        "A note.",
    ]


def test_a_row_with_another_number_of_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        Table("t", ("a", "b"), (("1",),)).markdown()


def test_a_report_takes_the_place_of_the_one_before_and_of_nothing_else() -> None:
    page = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    once = written(page, "new")
    assert once == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    assert written(once, "new") == once


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="measured"):
        written("a page", "new")
