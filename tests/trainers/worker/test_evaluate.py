from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from search_spaces.trial import ModelRef
from trainers import models, registry
from trainers.adapters.attach import AdaptedModel, attached
from trainers.data import EvalItem, load, resolve
from trainers.encoding import TrainSequence
from trainers.evaluate import _generate, evaluate, option_scores
from trainers.models import BaseModel

STOP = "\n"


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return models.load(ModelRef(id="micro-llama"), torch.device("cpu"))


def reference_text(model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, prompt: tuple[int, ...], tokens: int) -> str:
    """Greedy decoding one row at a time, the whole sequence forwarded for every token."""
    ids = list(prompt)
    stops = {tokenizer(STOP).input_ids[-1], tokenizer.eos_token_id}
    for _ in range(tokens):
        row = torch.tensor([ids])
        token = int(model(row, torch.ones_like(row)).logits[0, -1].argmax())
        if token in stops:
            break
        ids.append(token)
    return tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).strip()


@pytest.mark.parametrize(("method", "capacity"), [("lora", {"rank": 2}), ("peft/prefix_tuning", {"num_virtual_tokens": 3})])
def test_batched_generation_writes_what_one_row_at_a_time_writes(base: BaseModel, method: str, capacity: dict[str, int]) -> None:
    prompts = [tuple(base.tokenizer(text).input_ids) for text in ("Title: A\nAnswer:", "x", "a much longer prompt, padded nowhere")]
    # With random weights every row would write the same byte for ever; a perturbed head makes rows differ and stop at different steps.
    with attached(base.model, registry.method_type(method), ["q", "v"], capacity=capacity, settings={}) as model, torch.no_grad():
        for parameter in model.trainable().values():
            parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
        embedding = base.model.get_input_embeddings().weight
        kept = embedding.clone()
        embedding.normal_(std=1.0, generator=torch.Generator().manual_seed(1))
        try:
            with model.evaluating():
                expected = [reference_text(model, base.tokenizer, prompt, 12) for prompt in prompts]
                items = [EvalItem(prompt, None) for prompt in prompts]
                assert _generate(model, base.tokenizer, items, 12, lambda: None) == expected
            assert len(set(expected)) > 1
        finally:
            embedding.copy_(kept)


@pytest.mark.parametrize("prefix", [0, 5])
def test_option_scores_are_mean_log_probabilities_of_the_targets(base: BaseModel, prefix: int) -> None:
    shared = tuple(range(40, 40 + prefix))
    options = [TrainSequence((*shared, 7, *tail), len(tail)) for tail in ((1, 2, 3), (1, 9), (4, 5, 6, 7))]
    with (
        attached(base.model, registry.method_type("lora"), ["q", "v"], capacity={"rank": 2}, settings={}) as model,
        model.evaluating(),
    ):
        scores = option_scores(model, options, base.tokenizer.pad_token_id)
        for option, score in zip(options, scores, strict=True):
            row = torch.tensor([option.ids])
            log_probabilities = model(row, torch.ones_like(row)).logits[0].log_softmax(-1)
            positions = range(len(option.ids) - option.targets, len(option.ids))
            expected = sum(float(log_probabilities[p - 1, option.ids[p]]) for p in positions) / option.targets
            assert float(score) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["squad", "drop", "record"])
def test_every_task_is_evaluated_with_its_main_metric(base: BaseModel, name: str) -> None:
    task = registry.task(name)
    ref = resolve(task, "embedded", train=8, selection=3, test=3, seed=0)
    found = load(task, ref, base.tokenizer, max_length=300, max_new_tokens=4)
    with attached(base.model, registry.method_type("lora"), ["q", "v"], capacity={"rank": 2}, settings={}) as model:
        result = evaluate(model, base.tokenizer, task, found.selection, 4)
    assert task.card.main in result.scores.metrics and len(result.predictions) == 3
    assert 4 < result.loss < 7, "an untrained model of 258 tokens is near ln 258 = 5.55"
