import json

from benchmarks.report import Section, Table, as_json, checks_table, markdown, plain
from benchmarks.summary import Check

TABLE = Table("A title", ("program", "CPU"), [("ours", "2.81 %"), ("theirs", "102 %")], ("A note.",))


def test_plain_table_is_aligned() -> None:
    """Columns have one width, words stand left and figures right, and no line ends in blanks."""
    assert plain(TABLE).splitlines() == [
        "A title",
        "",
        "  program     CPU",
        "  -------  ------",
        "  ours     2.81 %",
        "  theirs    102 %",
        "",
        "  A note.",
    ]


def test_markdown_table() -> None:
    """Markdown has the same columns between bars."""
    assert markdown(TABLE).splitlines() == [
        "## A title",
        "",
        "| program |    CPU |",
        "| ------- | ------ |",
        "| ours    | 2.81 % |",
        "| theirs  |  102 % |",
        "",
        "A note.",
    ]


def test_a_column_with_words_is_no_column_of_figures() -> None:
    """A column stands right only when all of its cells are figures, dashes or empty."""
    table = Table("t", ("x", "y"), [("1", "—"), ("no answer", "")])
    assert plain(table).splitlines()[4] == "  1          —"


def test_json_has_base_units_and_checks() -> None:
    """Machines get the figures in base units, and what passed."""
    check = Check("CPU", "2.81 %", "< 4 %", passed=True)
    said = json.loads(as_json({"python": "3"}, [Section("sampling", [TABLE], [check], {"share": 0.0281})]))
    assert said["sections"]["sampling"]["figures"] == {"share": 0.0281}
    assert said["sections"]["sampling"]["checks"][0]["passed"] is True
    assert checks_table([check]).rows == [("CPU", "2.81 %", "< 4 %", "PASS")]
