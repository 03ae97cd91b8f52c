"""The tables and the picture: ratios, plain lines for what is not there, aims, sections that are replaced."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from benchmarks.aims import verdicts
from benchmarks.child import Ran
from benchmarks.kinds import KINDS
from benchmarks.picture import draw, lines_of
from benchmarks.runner import Comparison, Measured
from benchmarks.table import aims_table, comparison_table, put_section
from benchmarks.units import exact, rough, times

KIND = {kind.name: kind for kind in KINDS}


def measured(name: str, *, day: int = 850_000, first: int = 64_000_000, seconds: float = 1.0,
             peak: int = 200_000_000) -> Measured:
    ran = Ran(seconds, seconds / 2, peak)
    return Measured(name, [first, day, day], [ran] * 3, [ran] * 2, [ran] * 3)


def comparison(*programs: Measured, kind: str = "register", bounds=None) -> Comparison:
    return Comparison(KIND[kind], [186_000_000] * 3, list(programs), bounds or {})


def rivals() -> list[Measured]:
    return [measured(name, day=60_000_000, seconds=2) for name in ("restic", "borg", "restic, auto", "borg, zstd,3")]


def row(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def judged(*comparisons: Comparison) -> dict[tuple[str, str], bool | None]:
    return {(one.figure, one.aim.split(" (")[0]): one.met for one in verdicts(comparisons)}


def test_sizes_have_three_digits():
    sizes = (846_000, 3_000_000, 63_100_000, 402_000_000)
    assert [exact(size) for size in sizes] == ["846 kB", "3.00 MB", "63.1 MB", "402 MB"]
    assert [rough(size) for size in (870, 1_000, 1_240, 87_400, 63_100_000)] == \
        ["870 B", "1 kB", "1.2 kB", "87 kB", "63 MB"]


def test_a_ratio_to_nothing_is_no_number():
    assert (times(3, 2), times(60, 2), times(1, 0)) == ("×1.50", "×30", "-")


def test_ratios_come_first_and_figures_beside_them():
    table = comparison_table(comparison(measured("jbackupd"), measured("restic", day=59_500_000, seconds=4)))
    assert row(table, "restic")[1] == "×70 (59.5 MB, 59.5 MB)"
    assert row(table, "restic")[3] == "×4.00 (4.00 s, 2.00 s, 46 MB/s)"
    assert row(table, "jbackupd")[1] == "×1.00 (850 kB, 850 kB)"


def test_a_program_that_is_missing_or_failed_has_a_plain_line():
    table = comparison_table(comparison(
        measured("jbackupd"), Measured("restic", trouble="not installed"), bounds={"xdelta3 -9": "not installed"}
    ))
    assert row(table, "restic")[1] == "not installed"
    assert row(table, "*xdelta3 -9*")[1] == "not installed"


def test_a_table_stands_when_jbackupd_itself_failed():
    failed = comparison(Measured("jbackupd", trouble="ended with 4"), measured("restic"))
    assert row(comparison_table(failed), "jbackupd")[1] == "ended with 4"
    assert row(comparison_table(failed), "restic")[1] == "850 kB, 850 kB"
    assert not failed.whole
    assert list(judged(failed).values()) == [False]


def test_a_kind_that_cannot_be_made_is_said_and_is_no_failure_of_ours():
    absent = Comparison(KIND["ext4"], [], [], {}, absent="mke2fs is not installed")
    assert "Not measured: mke2fs is not installed." in comparison_table(absent)
    assert absent.whole
    assert list(judged(absent).values()) == [None]
    assert lines_of([absent]) == []


def test_wrong_bytes_are_said_aloud():
    wrong = measured("jbackupd")
    wrong.identical = False
    assert row(comparison_table(comparison(wrong)), "jbackupd")[-1] == "**no**"
    assert judged(comparison(wrong))["register", "restores what it was given"] is False


def test_a_day_that_cannot_be_read_keeps_its_bytes_and_fails():
    lost = measured("jbackupd")
    lost.lost, lost.restores = "day 2: ended with 4", []
    found = comparison(lost, *rivals(), kind="deltas")
    assert row(comparison_table(found), "jbackupd")[1] == "×1.00 (850 kB, 850 kB)"
    assert row(comparison_table(found), "jbackupd")[-1] == "day 2: ended with 4"
    assert not found.whole
    assert judged(found)["restore of the newest of 3 points", "at most restic's time"] is False


def test_each_aim_is_judged_by_its_own_figure():
    bounds = {"xdelta3 -9": [430_000, 430_000], "zstd -19 --patch-from": [500_000, 424_000]}
    found = judged(comparison(measured("jbackupd"), *rivals(), bounds=bounds))
    assert found == {
        ("register: day 1, bytes", "at most 2 × the bound"): True,
        ("register: day 2, bytes", "at most 2 × the bound"): False,
        ("register: day 1, bytes", "at most 1/40 of restic and borg"): True,
        ("register: day 2, bytes", "at most 1/40 of restic and borg"): True,
        ("register: first copy, balanced", "at most 2 % above restic max and borg zstd,10"): True,
        ("register: first copy, balanced", "at most wall time of restic auto and borg zstd,3"): True,
        ("register: peak memory", "at most 250 MB"): True,
    }


def test_a_first_copy_may_be_2_percent_larger_and_no_more():
    for size, met in ((65_280_000, True), (65_280_001, False)):
        found = judged(comparison(measured("jbackupd", first=size), *rivals()))
        assert found["register: first copy, balanced", "at most 2 % above restic max and borg zstd,10"] is met


def test_a_first_copy_is_judged_by_each_preset_that_was_measured():
    thin, fast = measured("jbackupd, thin-line", first=60_000_000), measured("jbackupd, fast", seconds=2.1)
    found = judged(comparison(measured("jbackupd"), thin, fast, *rivals()))
    assert found["register: first copy, thin-line", "at most 2 % above restic max and borg zstd,10"] is True
    assert found["register: first copy, fast", "at most wall time of restic auto and borg zstd,3"] is False


def test_what_has_nobody_to_be_compared_with_is_not_judged():
    alone = comparison(measured("jbackupd"))
    assert {met for (figure, _aim), met in judged(alone).items() if "memory" not in figure} == {None}
    assert "not judged" in aims_table(verdicts([alone]))


def test_time_without_change_and_restoring_many_days_are_held_against_restic():
    slow = measured("restic", seconds=0.9)
    unchanged = comparison(measured("jbackupd"), slow, kind="unchanged")
    deltas = comparison(measured("jbackupd", seconds=0.8), slow, kind="deltas")
    found = judged(unchanged, deltas)
    assert found["unchanged: no change", "at most restic's time"] is False
    assert found["restore of the newest of 3 points", "at most restic's time"] is True


def test_the_picture_has_a_line_for_each_day_that_has_a_name():
    office = comparison(measured("jbackupd"), *rivals(), kind="office", bounds={"xdelta3 -9": [1, 2]})
    lines = lines_of([comparison(measured("jbackupd"), *rivals()), replace(office, source_bytes=[1] * 3)])
    assert [line.label for line in lines] == ["Register", "Office tree: edits", "Office tree: upgrade"]
    picture = draw(lines, "here & now")
    root = ElementTree.fromstring(picture)
    said = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert said.count("71 ×") == 3
    assert "here & now" in said
    assert "prefers-color-scheme: dark" in picture


def test_a_section_is_replaced_and_the_others_stay():
    document = put_section(put_section("# Results\n", "one", "first"), "two", "second")
    again = put_section(document, "one", "anew")
    assert again == document.replace("first", "anew")
    assert again.index("anew") < again.index("second")
