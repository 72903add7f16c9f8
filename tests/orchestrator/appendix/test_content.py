"""What an appendix says: what a reviewer would ask for, and nothing that did not happen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.appendix.blocks import Appendix, Items, Paragraph, Section, Table
from orchestrator.appendix.content import appendix_of
from orchestrator.appendix.latex import latex
from orchestrator.appendix.markdown import markdown
from orchestrator.appendix.source import Source
from orchestrator.appendix.words import facts, word
from search_spaces.sections import ALL

HOSTILE = "\\input{x} $y$ | <script>alert(1)</script> [a](javascript:b) \u202e中\n# head"


def section(appendix: Appendix, title: str) -> Section:
    (found,) = [section for section in appendix.sections if section.title == title]
    return found


def lines(found: Section) -> list[Sequence[str]]:
    return [row for block in found.blocks if isinstance(block, Table) for row in block.rows]


def texts(found: Section) -> str:
    parts = [
        block.text if isinstance(block, Paragraph) else "\n".join(block.texts)
        for block in found.blocks
        if isinstance(block, Paragraph | Items)
    ]
    return "\n".join(parts)


def test_both_forms_begin_with_the_certificate_and_have_the_same_sections(source: Source) -> None:
    appendix = appendix_of(source)
    md, tex = markdown(appendix), latex(appendix)
    assert md.splitlines()[0] == "Certificate: holds (13 of 13 rules)"
    assert tex.splitlines()[0] == "% Certificate: holds (13 of 13 rules)"
    titles = [section.title for section in appendix.sections]
    assert re.findall(r"^## (.*)$", md, re.MULTILINE) == titles
    assert re.findall(r"\\subsection\*\{(.*)\}", tex) == titles
    assert {"Search procedure", "Selected points", "Budgets", "Seeds", "Environment", "Cost", "Failures", "Reproduction"} <= set(titles)


def test_a_failing_certificate_is_told_first_and_rule_by_rule(sweep: Any, source_of: Callable[..., Source]) -> None:
    trial = sweep.find("select", "plain", learning_rate=0.01)[0]
    sweep.outcomes[trial.id] = sweep.outcomes[trial.id].model_copy(
        update={"data_digests": {"train": "other", "selection": "s", "order": "o100"}}
    )
    appendix = appendix_of(source_of(sweep))
    assert markdown(appendix).splitlines()[0] == "**Certificate: FAILS F3 (12 of 13 rules hold)**"
    found = section(appendix, "Fairness certificate")
    strong = [block.text for block in found.blocks if isinstance(block, Paragraph) and block.strong]
    assert any(text.startswith("F3 ") and text.endswith("FAILS.") for text in strong)
    assert "deviation: plain on reading with tiny, train: digest other and t, where others have t" in texts(found)
    assert sum(isinstance(block, Paragraph) and block.text.endswith("holds.") for block in found.blocks) == 12


def test_the_search_is_described_as_it_was(source: Source) -> None:
    appendix = appendix_of(source)
    said = texts(section(appendix, "Search procedure"))
    assert "each of the 2 grid points on the select seeds (100)" in said
    assert "on the report seeds (0, 1, 2)" in said
    assert ["learning_rate", "0.001, 0.01"] in lines(section(appendix, "Grid and fixed settings"))
    assert ["batch_size", "2"] in lines(section(appendix, "Grid and fixed settings"))
    methods = {row[0]: row for row in lines(section(appendix, "Methods"))}
    assert methods["thin"][4] == "rank=2, rank=4"
    assert "narrow on reading with tiny was refused: narrow is defined for narrow models only" in texts(section(appendix, "Methods"))


def test_every_selected_point_is_shown_with_its_place(sweep_of: Any, sweep_text: str, source_of: Callable[..., Source]) -> None:
    text = sweep_text.replace("[1.0e-3, 1.0e-2]", "[1.0e-4, 1.0e-3, 1.0e-2]")

    def score(trial: Any) -> float:
        if trial.phase == "report":
            return 0.5
        best = 0.001 if trial.label == "plain" else 0.01
        return 0.9 if trial.point["learning_rate"] == best else 0.3

    appendix = appendix_of(source_of(sweep_of(text, score)))
    rows = {(row[0], row[2]): row for row in lines(section(appendix, "Selected points"))}
    assert len(rows) == 6
    assert rows["plain", "reading"][3:] == ["learning_rate=0.001 scale=1", "learning_rate 2 of 3", "90.0", "30.0", "0 of 3"]
    assert rows["thin (rank=2)", "counting"][4] == "learning_rate 3 of 3 (EDGE)"


def test_data_budgets_and_reads_are_those_of_the_runs(source: Source) -> None:
    appendix = appendix_of(source)
    data = lines(section(appendix, "Models and data"))
    assert ["tiny", "float32", "none", "weights of tiny"] in data
    assert ["reading", "train", "8", "t"] in data and ["reading", "order of seed 1", "-", "o1"] in data
    assert ["tiny", "reading", "report", "2", "4", "40", "1", "0", "9"] in lines(section(appendix, "Budgets"))
    reads = section(appendix, "Reads of the test split")
    assert ["thin (rank=2)", "tiny", "reading", "3", "3"] in lines(reads)
    assert texts(reads).startswith("0 reads by the 12 trials of the select phase")


def test_a_split_that_is_read_whole_is_called_all(source: Source) -> None:
    data = {task: {**caps, "train": ALL} for task, caps in source.document["data"].items()}
    appendix = appendix_of(replace(source, document={**source.document, "data": data}))
    assert ["reading", "train", "all", "t"] in lines(section(appendix, "Models and data"))


def test_device_hours_add_up(source: Source) -> None:
    rows = {row[0]: row for row in lines(section(appendix_of(source), "Cost"))}
    # A minute for each trial.
    assert rows["thin"][:4] == ["thin", "0.3333", "20", "20"]
    assert rows["all"][:4] == ["all", "0.5333", "32", "32"]


def test_failures_are_listed_with_their_errors_and_what_is_missing(sweep: Any, source_of: Callable[..., Source]) -> None:
    sweep.change(sweep.find("report", "thin", rank=4, seed=2), status="diverged", error="loss is NaN at step 3")
    (gone,) = sweep.find("report", "plain", seed=1)
    del sweep.outcomes[gone.id]
    found = section(appendix_of(source_of(sweep)), "Failures")
    ((row),) = lines(found)
    assert row[:6] == ["thin (rank=4)", "reading", "report", "2", "diverged", "loss is NaN at step 3"]
    assert "Planned trials that have not run: 1." in texts(found) and "plain on reading with tiny: report seed 1" in texts(found)


def test_environments_that_differ_are_told_apart(sweep: Any, source_of: Callable[..., Source]) -> None:
    (trial,) = sweep.find("report", "plain", seed=1)
    environment = sweep.outcomes[trial.id].environment
    sweep.outcomes[trial.id] = sweep.outcomes[trial.id].model_copy(update={"environment": {**environment, "versions": {"torch": "2.14.0"}}})
    found = section(appendix_of(source_of(sweep)), "Environment")
    assert ["torch", "2.13.0"] in lines(found)
    assert "differing in 1: torch 2.14.0 instead of 2.13.0" in texts(found)


def test_commands_reproduce_it(source: Source, source_of: Callable[..., Source], sweep: Any) -> None:
    md = markdown(appendix_of(source))
    assert "fairsweep run sweep.yaml\n" in md and source.board.digest in md
    assert "MLflow does not hold the sweep file" in markdown(appendix_of(source_of(sweep, None)))


def test_nothing_in_a_name_is_obeyed(source: Source, renamed: Callable[[Source, str], Source]) -> None:
    appendix = appendix_of(renamed(source, HOSTILE))
    md, tex = markdown(appendix), latex(appendix)
    assert "<script>" not in md and "\u202e" not in md and "\n# head" not in md
    assert r"\input{x}" not in tex and tex.isascii()
    tables = [line for line in md.splitlines() if "alert(1)" in line and line.startswith("|")]
    assert tables and all(re.sub(r"\\\|", "", line).endswith("|") for line in tables)


def test_evidence_in_words() -> None:
    evidence = {"deviations": ["x"], "marks": {}, "axes": {"rate": [0.1, 0.2], "scale": [1.0]}, "nothing": [], "equal_lengths": True}
    assert facts(evidence) == ["axes: rate: (0.1, 0.2); scale: 1", "equal lengths: yes"]
    assert word({"digest": "ab" * 32}) == "digest: abababababab"
    assert word(None) == "none" and word(1884) == "1,884" and word(1e-08) == "1e-08"
    assert facts({"list": ["y" * 4000]})[0].endswith("has all of it)")
