"""Tables of published results as references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.importing.faults import ImportedFileError
from orchestrator.importing.table import read_table
from orchestrator.leaderboard.statistics.intervals import binomial_interval

HEADER = "method,model,task,metric,score"
Write = Callable[..., Path]


def refusal(file: Path, unit: str | None = "percent") -> str:
    with pytest.raises(ImportedFileError) as raised:
        read_table(file, unit)  # type: ignore[arg-type]
    return str(raised.value)


def test_a_table_with_all_columns(table_file: Write) -> None:
    columns = f"{HEADER},unit,n,trainable,adapter_bytes,peak_bytes,seconds_per_step,source,selected_on,notes"
    cells = 'lora,llama2-7b,copa,accuracy,90.56,percent,100,4194304,16777216,14000000000,0.25,"Doe 2024, Table 2",evaluation,as printed'
    (found,) = read_table(table_file(columns, cells)).references
    assert found.score == 0.9056 and found.n == 100 and found.ci == binomial_interval(0.9056, 100)
    assert (found.trainable, found.adapter_bytes, found.peak_bytes, found.seconds_per_step) == (4194304, 16777216, 14 * 10**9, 0.25)
    assert found.source == "Doe 2024, Table 2" and found.notes == ("selected on the evaluation set", "as printed")


def test_the_smallest_table_takes_its_file_as_the_source(table_file: Write) -> None:
    (found,) = read_table(table_file(HEADER, "lora,llama2-7b,copa,accuracy,0.9"), "fraction").references
    assert (found.score, found.source, found.ci, found.trainable, found.notes) == (0.9, "table.csv", None, None, ())


def test_only_proportions_have_an_interval(table_file: Write) -> None:
    rows = [f"lora,m,t,{metric},40,1000" for metric in ("accuracy", "Exact_Match", "f1", "mcc")]
    found = read_table(table_file(f"{HEADER},n", *rows), "percent").references
    assert [reference.ci is not None for reference in found] == [True, True, False, False]
    negative = read_table(table_file(f"{HEADER},n", "lora,m,t,accuracy,-1,10"), "percent").references
    assert negative[0].ci is None


def test_tabs_byte_order_marks_and_empty_lines_are_read(table_file: Write) -> None:
    file = table_file("\ufeff" + HEADER.replace(",", "\t"), "", "lora\tm\tt\taccuracy\t40", "", name="table.tsv")
    assert read_table(file, "percent").references[0].score == 0.4


def test_the_unit_has_to_be_said_once(table_file: Write) -> None:
    bare = table_file(HEADER, "lora,m,t,accuracy,40")
    assert "it is not said whether the scores are percentages or fractions" in refusal(bare, None)
    twice = table_file(f"{HEADER},unit", "lora,m,t,accuracy,40,percent", name="twice.csv")
    assert "the unit of the scores is given twice" in refusal(twice)
    assert "line 2, column unit: it is empty" in refusal(table_file(f"{HEADER},unit", "lora,m,t,accuracy,40,", name="empty.csv"), None)
    wrong = refusal(table_file(f"{HEADER},unit", "lora,m,t,accuracy,40,percents", name="wrong.csv"), None)
    assert "line 2, column unit: 'percents' is not valid. Did you mean 'percent'?" in wrong


def test_a_score_outside_of_its_unit_is_refused(table_file: Write) -> None:
    assert "line 2, column score: 40 is no fraction" in refusal(table_file(HEADER, "lora,m,t,accuracy,40"), "fraction")
    assert "line 2, column score: 140 is no percent" in refusal(table_file(HEADER, "lora,m,t,accuracy,140"))


@pytest.mark.parametrize("score", ["40%", "nan", "inf", "1,5", "40 ± 1", "0x1", "\uff11", "1e999", "--", "_1"])
def test_a_score_that_is_no_plain_number_is_refused(table_file: Write, score: str) -> None:
    assert "line 2, column score" in refusal(table_file(HEADER, f'lora,m,t,accuracy,"{score}"'))


def test_all_faults_are_told_at_their_line_and_column(table_file: Write) -> None:
    file = table_file(
        f"{HEADER},n,trainable",
        "lora,m,t,accuracy,40,100,1_000",
        ",m,t,accuracy,forty,0,1",
        "lora,m,t,accuracy,40,100,1000",
        "lora,m,t,accuracy,41,100,1000",
        "lora,m,t",
    )
    text = refusal(file)
    for told in (
        "line 2, column trainable: '1_000' is not a whole number",
        "line 3, column method: it is empty",
        "line 3, column score: 'forty' is not a number",
        "line 3, column n: it is 0",
        "line 5: the same source already gives this score in line 4",
        "line 6: it has 3 cells, the header has 7",
    ):
        assert told in text, text


def test_a_cell_over_several_lines_does_not_shift_the_line_numbers(table_file: Write) -> None:
    file = table_file(f"{HEADER},notes", 'lora,m,t,accuracy,40,"two\nlines"', "lora,m,t,f1,forty,")
    assert "line 4, column score" in refusal(file)


def test_unknown_missing_and_repeated_columns_are_told(table_file: Write) -> None:
    text = refusal(table_file("method,model,task,metrics,score,score", "lora,m,t,accuracy,40,40"))
    assert "column metrics: there is no such column. Did you mean 'metric'?" in text
    assert "the column metric is missing" in text and "column score: it stands there twice" in text


def test_what_is_no_table_is_refused(table_file: Write, tmp_path: Path) -> None:
    assert "it has 0 lines below a header" in refusal(table_file(HEADER))
    assert "there is no such file" in refusal(tmp_path / "nowhere.csv")
    assert "it is no file" in refusal(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"method,model\n\xff\xfe\x00")
    assert "line 2: it is not UTF-8" in refusal(tmp_path / "binary.csv")
    assert "cannot be cut into cells" in refusal(table_file(HEADER, 'lora,m,t,"accuracy,40', name="open.csv"))
    long = refusal(table_file(HEADER, f"{'x' * 10_000},m,t,accuracy,40", name="long.csv"))
    assert "line 2, column method: it has 10,000 characters" in long and len(long) < 1000


def test_a_message_lists_the_first_faults_and_counts_the_rest(table_file: Write) -> None:
    text = refusal(table_file(HEADER, *[f"lora{n},m,t,accuracy,forty" for n in range(100)]))
    assert "100 faults" in text and "and 80 more" in text and text.count("\n") == 21
