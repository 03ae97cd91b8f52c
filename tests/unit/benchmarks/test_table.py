"""The tables of `make bench`: ratios, plain lines for what is not there, aims, sections that are replaced."""

from benchmarks.child import Ran
from benchmarks.runner import Comparison, Measured
from benchmarks.table import aims_table, comparison_table, megabytes, put_section, times


def measured(name: str, *, day_bytes: int = 850_000, seconds: float = 1.0, peak: int = 300_000_000) -> Measured:
    ran = Ran(seconds, peak)
    return Measured(name, [64_000_000, day_bytes, day_bytes], [ran] * 3, [ran] * 2, [ran] * 3)


def comparison(*programs: Measured, bounds=None) -> Comparison:
    return Comparison("Register", "What limits it.", [186_000_000] * 3, list(programs), bounds or {})


def row(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_sizes_have_three_digits():
    sizes = (846_000, 3_000_000, 63_100_000, 402_000_000)
    assert [megabytes(size) for size in sizes] == ["0.846", "3.00", "63.1", "402"]


def test_a_ratio_to_nothing_is_no_number():
    assert (times(3, 2), times(60, 2), times(1, 0)) == ("×1.50", "×30", "-")


def test_ratios_come_first_and_figures_beside_them():
    table = comparison_table(comparison(measured("jbackupd"), measured("restic", day_bytes=59_500_000, seconds=4)))
    assert row(table, "restic")[1] == "×70 (59.5, 59.5 MB)"
    assert row(table, "restic")[3] == "×4.00 (4.00 s, 46 MB/s)"
    assert row(table, "jbackupd")[1] == "×1.00 (0.850, 0.850 MB)"


def test_a_program_that_is_missing_or_failed_has_a_plain_line():
    table = comparison_table(comparison(
        measured("jbackupd"), Measured("restic", trouble="not installed"), bounds={"xdelta3 -9": "not installed"}
    ))
    assert row(table, "restic")[1] == "not installed"
    assert row(table, "*xdelta3 -9*")[1] == "not installed"


def test_a_table_stands_when_jbackupd_itself_failed():
    table = comparison_table(comparison(Measured("jbackupd", trouble="ended with 4"), measured("restic")))
    assert row(table, "jbackupd")[1] == "ended with 4"
    assert row(table, "restic")[1] == "0.850, 0.850 MB"


def test_a_bound_without_a_first_copy_leaves_its_cell_empty():
    table = comparison_table(comparison(measured("jbackupd"), bounds={"xdelta3 -9": [None, 425_000, 425_000]}))
    assert row(table, "*xdelta3 -9*")[1:3] == ["×0.50 (0.425, 0.425 MB)", ""]


def test_wrong_bytes_are_said_aloud():
    wrong = measured("jbackupd")
    wrong.identical = False
    assert row(comparison_table(comparison(wrong)), "jbackupd")[-1] == "**no**"
    assert not aims_table(comparison(wrong))[1]


def test_aims_are_met_only_all_together():
    assert aims_table(comparison(measured("jbackupd")))[1]
    for missed in (measured("j", day_bytes=3_000_001), measured("j", seconds=1.9), measured("j", peak=400_000_000)):
        text, met = aims_table(comparison(missed))
        assert (text.count("**missed**"), met) == (1, False)


def test_aims_without_a_measurement_are_not_met():
    assert aims_table(comparison(Measured("jbackupd", trouble="ended with 4")))[1] is False


def test_a_section_is_replaced_and_the_others_stay():
    document = put_section(put_section("# Results\n", "one", "first"), "two", "second")
    again = put_section(document, "one", "anew")
    assert again == document.replace("first", "anew")
    assert again.index("anew") < again.index("second")
