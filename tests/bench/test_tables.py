import doctest

from bench import tables, where_time_goes


def test_its_example_holds():
    assert doctest.testmod(tables).failed == 0 < doctest.testmod(tables).attempted


def test_rows_that_come_one_by_one_make_the_same_table():
    rows = [["stock", 1.5], ["a|b", ""]]
    assert "\n".join([tables.head("xy"), *map(tables.row, rows)]) == tables.table("xy", rows)


def test_a_table_goes_to_a_file_in_a_new_folder(tmp_path):
    tables.write(tmp_path / "new" / "table.md", "| ± |\n")
    assert (tmp_path / "new" / "table.md").read_text(encoding="utf-8") == "| ± |\n"


def test_the_longest_group_comes_first_and_the_rest_of_the_step_last():
    found = {"Adam": [2, 1.0, 0.0, 0.5], "convolutions": [3, 4.0, 2.0, 1.0]}
    assert where_time_goes.table(found, elapsed=5.25).splitlines()[2:] == [
        "| convolutions | 3 | 4.00 | 2.00 | 1.00 | 4.0 |",
        "| Adam | 2 | 1.00 | 0.00 | 0.50 | 2.0 |",
        "| between the Ops | | 0.25 | | | |",
    ]
