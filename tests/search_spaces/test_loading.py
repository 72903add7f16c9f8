"""Reading sweep files: YAML, studies, `--set`, and what the sweep then says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from search_spaces.errors import SpecError, UnknownNameError
from search_spaces.loading import dump_spec, list_studies, load_spec
from search_spaces.sections import ALL


def test_a_sweep_reads_as_written(sweep_file: Path) -> None:
    spec = load_spec(sweep_file)
    assert spec.name == "small"
    assert [(model.id, model.dtype) for model in spec.models] == [("micro-llama", "float32")]
    assert list(spec.tasks) == ["squad"]
    assert spec.methods["lora"].options == {"rank": [2, 4]}
    assert spec.grid == {"learning_rate": (1e-3, 1e-2), "scale": (1.0,)}
    assert spec.points() == ({"learning_rate": 1e-3, "scale": 1.0}, {"learning_rate": 1e-2, "scale": 1.0})
    assert (spec.training.steps, spec.training.epochs, spec.training.max_new_tokens) == (2, None, 50)
    assert spec.seeds.vary == ("init", "order", "dropout")


def test_a_sweep_is_frozen(sweep_file: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_spec(sweep_file).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("study", list_studies())
def test_every_study_reads_and_reads_again_from_its_dump(study: str, tmp_path: Path) -> None:
    spec = load_spec(study)
    assert spec.name == study
    path = tmp_path / "dump.yaml"
    path.write_text(dump_spec(spec))
    assert load_spec(path) == spec


def test_the_quickstart_is_what_the_readme_promises() -> None:
    spec = load_spec("quickstart")
    assert spec.models[0].dtype == "bfloat16"
    assert len(spec.methods) >= 4
    assert sum(label.startswith("peft/") for label in spec.methods) >= 2
    assert len(spec.grid["learning_rate"]) == 4
    assert spec.data.source == "embedded"
    assert spec.targets == ("q", "o")
    assert len(spec.seeds.report) == 3


@pytest.mark.parametrize(
    ("written", "value"), [("1e-4", 1e-4), ("1E+2", 100.0), ("1.5e3", 1500.0), ("2_000.5", 2000.5), (".5", 0.5), ("3", 3.0)]
)
def test_numbers_read_as_people_write_them(sweep_file: Path, written: str, value: float) -> None:
    assert load_spec(sweep_file, [f"grid.learning_rate=[{written}]"]).grid["learning_rate"] == (value,)


def test_words_are_not_truth_values(sweep_file: Path) -> None:
    assert load_spec(sweep_file, ["methods.lora.init=on"]).methods["lora"].options["init"] == "on"
    assert load_spec(sweep_file, ["methods.lora.init=true"]).methods["lora"].options["init"] is True


def test_overrides_set_make_and_replace(sweep_file: Path) -> None:
    spec = load_spec(
        sweep_file,
        [
            "training.steps=7",
            "training.checkpoint.best=loss",
            "methods.peft/vera.r=64",
            "seeds.report.1=9",
            "deepspeed.zero_stage=0",
            "resources.memory=2GiB",
            "resources.time_limit=1.5h",
            "resources.stall_limit=2m",
        ],
    )
    assert spec.training.steps == 7
    assert spec.training.checkpoint.best == "loss"
    assert spec.methods["peft/vera"].options == {"r": 64}
    assert spec.seeds.report == (0, 9)
    assert (spec.resources.memory, spec.resources.time_limit, spec.resources.stall_limit) == (2 * 2**30, 5400, 120)


def test_an_override_takes_the_place_of_the_key_that_it_excludes(sweep_file: Path) -> None:
    assert load_spec(sweep_file, ["training.epochs=3"]).training.steps is None
    assert [model.id for model in load_spec(sweep_file, ["models=[a, b]"]).models] == ["a", "b"]
    assert load_spec(sweep_file, ["grid.epochs=[1, 2]"]).grid["epochs"] == (1.0, 2.0)
    with pytest.raises(SpecError, match="both `epochs` and `steps`"):
        load_spec(sweep_file, ["training.epochs=3", "training.steps=3"])


def test_keys_with_dots_are_found(sweep_file: Path) -> None:
    spec = load_spec(sweep_file, ["models=[opt-1.3b]", "targets={opt-1.3b: [q]}", "targets.opt-1.3b=[v, q]"])
    assert spec.roles("opt-1.3b") == ("q", "v")


def test_null_is_a_value_where_it_means_something(sweep_file: Path) -> None:
    spec = load_spec(sweep_file, ["grid.clip=[null, 1]", "grid.head_learning_rate=[null, 1e-3]"])
    assert spec.grid["clip"] == (None, 1.0)
    assert spec.points()[0] == {"learning_rate": 1e-3, "clip": None, "head_learning_rate": None, "scale": 1.0}
    with pytest.raises(SpecError, match="None is not valid"):
        load_spec(sweep_file, ["grid.dropout=[null]"])


def test_sets_have_one_order(sweep_file: Path) -> None:
    spec = load_spec(sweep_file, ["targets=[v, o, q]", "also_train=[biases, norms]", "seeds.vary=[dropout, init]"])
    assert spec.targets == ("q", "v", "o")
    assert spec.also_train == ("norms", "biases")
    assert spec.seeds.vary == ("init", "dropout")


def test_empty_sections_take_their_defaults(sweep_file: Path) -> None:
    spec = load_spec(sweep_file, ["data=null", "seeds=null", "halving=null", "methods={lora: null, base: null}", "tasks={squad: null}"])
    assert spec.data.source == "hub"
    assert spec.seeds.report == (0, 1, 2, 3, 4)
    assert list(spec.methods) == ["lora"]


def test_a_task_overrides_data_and_training(sweep_file: Path) -> None:
    override = "tasks={squad: {}, copa: {data: {train: 3}, training: {epochs: 2, checkpoint: {evaluations: 2}}}}"
    spec = load_spec(sweep_file, [override, "training.checkpoint.best=loss"])
    assert (spec.data_of("squad").train, spec.data_of("copa").train, spec.data_of("copa").test) == (8, 3, 4)
    assert (spec.training_of("squad").steps, spec.training_of("squad").epochs) == (2, None)
    copa = spec.training_of("copa")
    assert (copa.steps, copa.epochs, copa.batch_size) == (None, 2.0, 2)
    assert (copa.checkpoint.best, copa.checkpoint.evaluations) == ("loss", 2)


def test_all_stands_for_every_row_and_is_dumped_as_written(sweep_file: Path, tmp_path: Path) -> None:
    spec = load_spec(sweep_file, ["data.train=all", "tasks={squad: {}, sst2: {data: {train: 5, test: all}}}"])
    assert (spec.data_of("squad").train, spec.data_of("squad").test) == (ALL, 4)
    assert (spec.data_of("sst2").train, spec.data_of("sst2").test) == (5, ALL)
    path = tmp_path / "dump.yaml"
    path.write_text(dump_spec(spec))
    assert "train: all" in path.read_text() and str(ALL) not in path.read_text()
    assert load_spec(path) == spec


def test_last_keeps_the_last_state(sweep_file: Path) -> None:
    assert load_spec(sweep_file, ["training.checkpoint=last"]).training.checkpoint.best is None


def test_deepspeed_keys_that_only_change_the_engine_pass(sweep_file: Path) -> None:
    spec = load_spec(sweep_file, ["deepspeed.wall_clock_breakdown=true"])
    assert spec.deepspeed.model_dump() == {"zero_stage": 0, "wall_clock_breakdown": True}


def test_an_unknown_study_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'quickstart'?"):
        load_spec("quikstart")


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file.*quickstart"):
        load_spec(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="directory"):
        load_spec(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ngrid: [1, 2\n", "line 3: not valid YAML"),
        ("name: a\n\tmodel: b\n", "line 2: not valid YAML"),
        ("name: a\ntasks: [squad]\nname: b\n", "line 3: the key 'name' stands twice; it was given on line 1"),
        ("grid:\n  scale: [1]\n  scale: [2]\n", "line 3: the key 'scale' stands twice"),
        ("a: !!python/object:os.system {}\n", "line 1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("", "is empty"),
        ("- a\n- b\n", "holds list"),
        ("? [a]\n: 1\n", "not valid YAML"),
    ],
)
def test_text_that_is_no_sweep_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(SpecError, match="not UTF-8 text: byte 6"):
        load_spec(path)


def test_a_file_merges_anchors(sweep_file: Path) -> None:
    sweep_file.write_text(
        sweep_file.read_text().replace("lora: {rank: [2, 4]}", "lora: &same {rank: [2, 4]}\n  other: {<<: *same, method: lora}")
    )
    assert load_spec(sweep_file).methods["other"].options == {"rank": [2, 4]}
