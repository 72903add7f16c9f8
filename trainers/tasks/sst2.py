"""SST-2: is a sentence about a film positive or negative?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from trainers.api import Example, HubSource, Row, Scores, Task, TaskCard
from trainers.metrics import glue
from trainers.metrics.rowwise import score_rows
from trainers.tasks import _passages, _words
from trainers.tasks._fields import class_index, key, row_id, text

OPTIONS = (" terrible", " great")
"""What follows the prompt for the classes 0 (negative) and 1 (positive)."""
PATTERNS = (
    "a {adjective} {noun} that {verdict} . ",
    "this {adjective} {noun} {verdict} ",
    "the {part} makes for a {adjective} {noun} . ",
    "thanks to the {part} , this {noun} {verdict} . ",
    "the {adjective} {part} is why the {noun} {verdict} . ",
)


class Sst2(Task):
    """The sentiment of a sentence, scored by accuracy.

    Deviation: a causal language model is trained on the right option's tokens alone, by the loss of language modelling. The MeZO and
    LoReTTA code trains on the cross-entropy over the options, each with the mean log-probability of its tokens as its logit.
    """

    card: ClassVar[TaskCard] = TaskCard(
        name="sst2",
        title="SST-2",
        hub=HubSource(path="nyu-mll/glue", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", config="sst2"),
        license="none stated (Stanford Sentiment Treebank)",
        citation="Socher et al. 2013, ACL D13-1170; GLUE: Wang et al. 2018, arXiv 1804.07461",
        form="choose",
        main="accuracy",
        metrics=("accuracy",),
        fields=("sentence", "label"),
        num_labels=2,
    )

    def example(self, row: Row) -> Example:
        """Render one row: a language model completes `<sentence> It was`; an encoder reads the sentence as it is."""
        sentence, label = text(row, "sentence"), class_index(row, "label", len(OPTIONS))
        prompt = f"{sentence.strip()} It was"
        return Example(
            id=row_id(row, sentence),
            group=key(sentence),
            prompt=prompt,
            target=OPTIONS[label],
            references=label,
            options=tuple(prompt + option for option in OPTIONS),
            answers=tuple(range(len(OPTIONS))),
            texts=(sentence,),
            label=label,
        )

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> Scores:
        """Score classes against classes."""
        return score_rows(glue.accuracy, predictions, references)

    def embedded(self, split: Literal["train", "test"], count: int, seed: int) -> list[dict[str, Any]]:
        """Write sentences that praise or blame a film."""
        rows = _passages.generate(split, count, seed, _row, passage="sentence")
        return [{**row, "idx": index} for index, row in enumerate(rows)]


def _row(generator: random.Random) -> dict[str, Any]:
    label = generator.randrange(len(OPTIONS))
    sentence = generator.choice(PATTERNS).format(
        adjective=generator.choice(_words.FILM_QUALITIES[label]),
        noun=generator.choice(_words.FILM_KINDS),
        part=generator.choice(_words.FILM_PARTS),
        verdict=generator.choice(_words.FILM_VERDICTS[label]),
    )
    return {"sentence": sentence, "label": label}


TASK = Sst2
