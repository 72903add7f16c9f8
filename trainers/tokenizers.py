"""A tokenizer that needs no file: one token per byte."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

START, END, PAD = "<s>", "</s>", "<pad>"


def byte_level(*, classifier: bool = False) -> PreTrainedTokenizerFast:
    """Return a tokenizer of 258 tokens: the 256 bytes, `<s>` (256) and `</s>` (257, also the padding).

    Args:
        classifier: whether texts are framed as RoBERTa's are: `<s> text </s>`, and pairs `<s> text </s></s> text </s>`. There is a
            token `<pad>` (258) then: the model tells by it where a text ends, and what is part of a text must not count as padding.
    """
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    if classifier:
        core.add_special_tokens([START, END, PAD])
        start, end = len(vocabulary), len(vocabulary) + 1
        core.post_processor = processors.RobertaProcessing((END, end), (START, start), add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=START, eos_token=END, pad_token=PAD if classifier else END)
