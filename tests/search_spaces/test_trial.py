"""The id of a Trial: what changes it, and what does not."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from search_spaces.trial import Trial

CONTENT: dict[str, Any] = {
    "phase": "select",
    "label": "lora",
    "model": {"id": "micro-llama", "dtype": "float32", "digest": "m0"},
    "task": "squad",
    "data": {"source": "embedded", "train": 8, "selection": 4, "test": 4, "seed": 0, "digest": "d0"},
    "method": {"name": "lora", "version": "v1", "capacity": {"rank": 4}, "settings": {}},
    "targets": ["q", "v"],
    "training": {
        "learning_rate": 1e-3,
        "steps": 6,
        "batch_size": 2,
        "optimizer": "adamw",
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
        "scheduler": "linear",
        "warmup_ratio": 0.06,
        "clip": 1.0,
        "dropout": 0.0,
        "max_length": 64,
        "checkpoint": {"best": "metric", "evaluations": 2},
    },
    "point": {"learning_rate": 1e-3},
    "seed": 100,
}
floats = st.floats(min_value=1e-9, max_value=0.999, allow_nan=False)
names = st.text("abcdef-", min_size=1)
integers = st.integers(min_value=1, max_value=10**6)

CHANGING: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("phase",): st.sampled_from(["report"]),
    ("model", "dtype"): st.sampled_from(["bfloat16"]),
    ("model", "digest"): names,
    ("task",): names,
    ("data", "train"): integers,
    ("data", "selection"): integers,
    ("data", "test"): integers,
    ("data", "seed"): integers,
    ("data", "digest"): names,
    ("method", "name"): names,
    ("method", "version"): names,
    ("method", "capacity"): st.dictionaries(names, integers),
    ("method", "settings"): st.dictionaries(names, st.lists(integers), min_size=1),
    ("targets",): st.lists(st.sampled_from(["q", "k", "o"]), min_size=1),
    ("head",): names,
    ("also_train",): st.lists(st.sampled_from(["norms", "biases"]), min_size=1),
    ("seed",): integers,
    ("vary",): st.lists(st.sampled_from(["init", "order"]), min_size=1),
    ("training", "learning_rate"): floats,
    ("training", "head_learning_rate"): floats,
    ("training", "scale"): floats,
    ("training", "epochs"): floats,
    ("training", "steps"): integers,
    ("training", "batch_size"): integers,
    ("training", "optimizer"): names,
    ("training", "optimizer_settings"): st.dictionaries(names, floats, min_size=1),
    ("training", "betas"): st.tuples(floats, floats),
    ("training", "eps"): floats,
    ("training", "weight_decay"): floats,
    ("training", "scheduler"): st.sampled_from(["cosine", "constant"]),
    ("training", "warmup_ratio"): floats,
    ("training", "clip"): floats | st.none(),
    ("training", "dropout"): floats,
    ("training", "max_length"): integers,
    ("training", "max_new_tokens"): integers,
    ("training", "batches"): st.sampled_from(["bucketed"]),
    ("training", "checkpoint", "best"): st.sampled_from(["loss", None]),
    ("training", "checkpoint", "evaluations"): integers,
    ("bracket",): names,
}
KEEPING: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("label",): names,
    ("data", "source"): names,
    ("training", "micro_batch"): integers,
    ("point",): st.dictionaries(names, floats),
    # A digest names the weights; where they were found does not matter.
    ("model", "id"): names,
    ("model", "revision"): names,
}


def value_at(content: dict[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        content = content.get(key, {})
    return content


def changed(content: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = path
    return {**content, key: changed(content.get(key, {}), tuple(rest), value) if rest else value}


@given(st.data())
def test_whatever_changes_the_numbers_changes_the_id(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(CHANGING)))
    trial = Trial.model_validate(CONTENT)
    other = Trial.model_validate(changed(CONTENT, path, data.draw(CHANGING[path])))
    assert (trial.id == other.id) == (trial.meaning() == other.meaning())
    if value_at(other.model_dump(), path) != value_at(trial.model_dump(), path):
        assert trial.id != other.id


@given(st.data())
def test_names_places_and_memory_do_not_change_the_id(data: st.DataObject) -> None:
    content = CONTENT
    for path in data.draw(st.sets(st.sampled_from(sorted(KEEPING)), min_size=1)):
        content = changed(content, path, data.draw(KEEPING[path]))
    assert Trial.model_validate(content).id == Trial.model_validate(CONTENT).id


def test_every_field_is_known_to_change_the_id_or_to_keep_it() -> None:
    trial = Trial.model_validate(CONTENT).model_dump()
    leaves = set()
    for key, value in trial.items():
        whole = (key,) in CHANGING or (key,) in KEEPING or not isinstance(value, dict)
        for inner in [None] if whole else value:
            leaves.add((key,) if inner is None else (key, inner))
    leaves -= {("training", "checkpoint")}
    assert leaves == {path for path in {*CHANGING, *KEEPING} if len(path) < 3}


def test_the_id_is_the_same_on_every_machine() -> None:
    assert Trial.model_validate(CONTENT).id == "68d5c46fa2a47866"


def test_without_a_digest_the_models_name_is_what_counts() -> None:
    ids = {Trial.model_validate(changed(CONTENT, ("model",), {"id": name})).id for name in ("a", "b")}
    assert len(ids) == 2


def test_a_copy_has_the_id_of_its_own_content() -> None:
    trial = Trial.model_validate(CONTENT)
    before = trial.id
    other = trial.model_copy(update={"seed": 7})
    assert other.id == Trial.model_validate({**CONTENT, "seed": 7}).id != before
    assert trial.model_copy().id == before
