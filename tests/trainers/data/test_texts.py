"""What a classification head reads: texts and pairs as the tokenizer frames them, with their labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from search_spaces.errors import DataError, NotApplicableError
from trainers.api import Example
from trainers.data import load, resolve
from trainers.tasks.squad import Squad
from trainers.tasks.sst2 import Sst2
from trainers.tasks.stsb import Stsb
from trainers.texts import LabelledText, encode_texts, labelled_texts
from trainers.tokenizers import byte_level

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
START, END, PAD = 256, 257, 258
SIZES = {"train": 20, "selection": 6, "test": 9, "seed": 0}


@pytest.fixture(scope="module")
def framed() -> PreTrainedTokenizerFast:
    return byte_level(classifier=True)


@pytest.fixture(scope="module")
def with_segments() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that tells first and second text apart, as BERT's does."""
    words = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", *"abcdefgh"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", model_input_names=["input_ids", "token_type_ids"]
    )


def example(*texts: str, label: int | float | None = 1) -> Example:
    return Example("id", "group", "", "", label, texts=texts, label=label)


def encoded(tokenizer: PreTrainedTokenizerFast, limit: int, *examples: Example) -> tuple[LabelledText, ...]:
    return labelled_texts(examples, encode_texts(examples, tokenizer, limit))


def letters(text: str) -> list[int]:
    return list(byte_level()(text).input_ids)


def test_a_text_is_framed_as_robertas_are(framed: PreTrainedTokenizerFast) -> None:
    (found,) = encoded(framed, 100, example("ab ", label=0))
    assert found == LabelledText((START, *letters("ab "), END), (), 0)


def test_the_padding_is_no_part_of_a_text(framed: PreTrainedTokenizerFast) -> None:
    (found,) = encoded(framed, 100, example("ab", "cd"))
    assert framed.pad_token_id == PAD and PAD not in found.ids
    assert byte_level().pad_token_id == byte_level().eos_token_id == END


def test_a_pair_is_one_sequence(framed: PreTrainedTokenizerFast) -> None:
    (found,) = encoded(framed, 100, example("ab", "cde", label=2.5))
    assert found == LabelledText((START, *letters("ab"), END, END, *letters("cde"), END), (), 2.5)


def test_the_longer_text_of_a_pair_is_cut_first(framed: PreTrainedTokenizerFast) -> None:
    (found,) = encoded(framed, 10, example("ab", "cdefghij"))
    assert found.ids == (START, *letters("ab"), END, END, *letters("cdef"), END)


def test_segments_tell_the_texts_apart(with_segments: PreTrainedTokenizerFast) -> None:
    one, two = encoded(with_segments, 100, example("a b")), encoded(with_segments, 100, example("a b", "c"))
    assert (one[0].ids, one[0].segments) == ((1, 4, 5, 2), (0, 0, 0, 0))
    assert (two[0].ids, two[0].segments) == ((1, 4, 5, 2, 6, 2), (0, 0, 0, 0, 1, 1))


@pytest.mark.parametrize(("faulty", "word"), [(example("a", label=None), "label"), (example(), "texts")])
def test_an_example_without_text_or_label_is_refused(framed: PreTrainedTokenizerFast, faulty: Example, word: str) -> None:
    table = encode_texts([example("a")], framed, 10)
    with pytest.raises(DataError, match=f"has no {word}"):
        labelled_texts([faulty], table)


def test_more_examples_than_one_call_of_the_tokenizer_takes_keep_their_order(framed: PreTrainedTokenizerFast) -> None:
    examples = [example("a" * (n % 7 + 1), label=n) for n in range(600)]
    found = encoded(framed, 100, *examples)
    assert [(len(text.ids), text.label) for text in found] == [(n % 7 + 3, n) for n in range(600)]


@pytest.mark.parametrize("task", [Sst2(), Stsb()], ids=lambda task: task.card.name)
def test_data_of_an_encoder_and_its_cache(task: Sst2 | Stsb, framed: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    ref = resolve(task, "embedded", **SIZES)
    plain, written, read = (
        load(task, ref, framed, max_length=64, max_new_tokens=8, cache=cache, has_head=True) for cache in (None, tmp_path, tmp_path)
    )
    assert plain.train == written.train == read.train
    assert plain.digests == written.digests == read.digests
    assert plain.selection == read.selection and plain.test("report") == read.test("report")
    assert (len(plain.train), len(plain.selection.texts), plain.selection.items) == (20, 6, ())
    assert [text.label for text in plain.selection.texts] == [e.references for e in plain.selection.examples]
    assert max(len(text.ids) for text in plain.train if isinstance(text, LabelledText)) <= 64, "nothing is kept free for generation"


def test_the_form_follows_the_model(framed: PreTrainedTokenizerFast) -> None:
    ref = resolve(Sst2(), "embedded", **SIZES)
    texts, options = (load(Sst2(), ref, framed, max_length=200, max_new_tokens=8, has_head=head) for head in (True, False))
    assert texts.selection.texts and not options.selection.texts
    assert options.selection.items[0].options is not None
    assert texts.digests["train"] != options.digests["train"]


@pytest.mark.parametrize(
    ("task", "has_head", "words"), [(Stsb(), False, "no form for causal"), (Squad(), True, "answers of squad are texts")]
)
def test_a_form_that_a_task_lacks_is_refused(task: Squad | Stsb, has_head: bool, words: str, framed: PreTrainedTokenizerFast) -> None:
    with pytest.raises(NotApplicableError, match=words):
        load(task, resolve(task, "embedded", **SIZES), framed, max_length=200, max_new_tokens=8, has_head=has_head)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real subsets are not part of a clone")
@pytest.mark.parametrize("task", [Sst2(), Stsb()], ids=lambda task: task.card.name)
def test_real_rows_are_read(task: Sst2 | Stsb, framed: PreTrainedTokenizerFast) -> None:
    ref = resolve(task, str(SHARED), **SIZES)
    found = load(task, ref, framed, max_length=100, max_new_tokens=8, has_head=True)
    assert len(found.train) == 20
    for example, text in zip(found.selection.examples, found.selection.texts, strict=True):
        framing = 2 * len(example.texts)
        assert len(text.ids) == min(100, sum(len(part.encode()) for part in example.texts) + framing)
        assert text.label == example.label
