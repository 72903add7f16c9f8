"""The counts of the literature, counted again; those that do not reproduce stand in docs/published-counts.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.method import Method
from trainers.adapters.sites import Site
from trainers.counting import count_on, measured
from trainers.registry import method_names, method_type
from trainers.shapes import shapes

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / ".." / "shared" / "golden" / "published_counts.json"
QV, QKVO = ("q", "v"), ("q", "k", "v", "o")
OUT_PROJ = 2 * 768
"""Weights of RoBERTa-base's `classifier.out_proj` for two classes, without its biases."""


@dataclass(frozen=True)
class Published:
    """A number of trainable parameters from the literature.

    Attributes:
        text: as printed; empty where the source gives the settings only.
        exact: the number that the settings give.
        besides: parameters that the source adds.
        head: whether the source counts the classification head.
    """

    id: str
    text: str
    exact: int
    model: str
    method: str
    capacity: Mapping[str, int]
    targets: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    also_train: Sequence[str] = ()
    besides: int = 0
    head: bool = False

    @property
    def counted(self) -> int:
        """What we count."""
        found = count_on(ModelRef(id=self.model), self.method, self.targets, self.capacity, self.settings, self.also_train)
        return (found.counts.trainable if self.head else found.counts.peak) + self.besides


def on_llama(name: str, text: str, exact: int, method: str, rank: int, targets: Sequence[str] = QV) -> Published:
    return Published(f"llama7b-{name}", text, exact, "llama2-7b", method, {"rank": rank}, targets)


def on_opt(name: str, text: str, exact: int, method: str, rank: int) -> Published:
    return Published(f"opt-{name}", text, exact, "opt-1.3b", method, {"rank": rank}, QV)


def on_roberta(name: str, text: str, exact: int, method: str, rank: int, targets: Sequence[str] = QV, **more: Any) -> Published:
    return Published(f"roberta-{name}", text, exact, "roberta-base", method, {"rank": rank}, targets, **more)


def lotr_csv(rank: int, exact: int) -> Published:
    return Published(f"lotr-csv-r{rank}", str(exact), exact, "roberta-base", "lotr", {"rank": rank}, QV, besides=OUT_PROJ)


def lora_xs(rank: int, exact: int) -> Published:
    return Published(f"loraxs-r{rank}", "", exact, "roberta-large", "lora_xs", {"rank": rank}, ("q", "v", "o", "fc2"))


LORETTA_REP = {"rank": 8, "bottleneck": 8}
REPRODUCED = (
    # arXiv 2410.04060: LLaMA-2-7B, ranks 4 and 64, M = 2 matrices per layer.
    on_llama("lora-r4", "2.1M", 2_097_152, "lora", 4),
    on_llama("fact_tt-r4", "33K", 33_792, "fact_tt", 4),
    on_llama("lotr-r4", "33K", 33_792, "lotr", 4),
    on_llama("lorta-r4-M2", "17K", 17_160, "lorta", 4),
    on_llama("lora-r64", "33M", 33_554_432, "lora", 64),
    on_llama("fact_tt-r64", "786k", 786_432, "fact_tt", 64),
    on_llama("lotr-r64", "786k", 786_432, "lotr", 64),
    on_llama("lorta-r64-M2", "274k", 274_560, "lorta", 64),
    on_llama("lorta-r4-M4", "0.02M", 17_168, "lorta", 4, QKVO),
    on_llama("lorta-r8-M4", "0.03M", 34_336, "lorta", 8, QKVO),
    # arXiv 2402.11417, table 5; the prefix has 5 tokens in the scripts, 8 in the text.
    on_llama("lora-r8", "4.19M", 4_194_304, "lora", 8),
    Published("llama7b-adapter64", "50.33M", 50_331_648, "llama2-7b", "adapter_series", {"bottleneck": 64}),
    Published("llama7b-prefix5", "1.31M", 1_310_720, "llama2-7b", "prefix", {"tokens": 5}),
    Published("llama7b-loretta_rep", "0.51M", 516_096, "llama2-7b", "loretta_rep", LORETTA_REP, QV, also_train=("norms",)),
    Published("llama7b-loretta_adp", "0.88M", 876_800, "llama2-7b", "loretta_adp", {"rank": 5, "bottleneck": 64}, also_train=("norms",)),
    # RoBERTa-base on GLUE: arXiv 2402.11417, table 1, and arXiv 2410.04060.
    on_roberta("lora-r8", "300k", 294_912, "lora", 8),
    on_roberta("lora-r1-head", "(630k)", 628_994, "lora", 1, head=True),
    Published(
        "roberta-loretta_rep",
        "70K",
        69_626,
        "roberta-base",
        "loretta_rep",
        {"rank": 5, "bottleneck": 8},
        QV,
        settings={"classifier": "tt"},
        also_train=("norms",),
        head=True,
    ),
    on_roberta("lorta-r4-M2", "3.4k", 3_432, "lorta", 4),
    on_roberta("lorta+lora-r20-M2", "48k", 47_880, "lorta_head", 20),
    on_roberta("lorta+lora-r12-M2", "29k", 28_728, "lorta_head", 12),
    on_roberta("lorta+lora-r20-M4", "48k", 47_920, "lorta_head", 20, QKVO),
    on_roberta("lorta+lora-r12-M4", "29k", 28_752, "lorta_head", 12, QKVO),
    # CP adapters beside LoRA on OPT-1.3B: 193 parameters per component of a 2048 x 2048 matrix, 4,096 per rank.
    on_opt("cp-c1", "", 9_264, "cp", 1),
    on_opt("cp-c4", "", 37_056, "cp", 4),
    on_opt("cp-c8", "", 74_112, "cp", 8),
    on_opt("cp-c16", "", 148_224, "cp", 16),
    on_opt("cp-c21", "194,544", 194_544, "cp", 21),
    on_opt("cp-c36", "", 333_504, "cp", 36),
    on_opt("cp-c43", "398,352", 398_352, "cp", 43),
    on_opt("cp-c64", "592,896", 592_896, "cp", 64),
    on_opt("cp-c85", "", 787_440, "cp", 85),
    on_opt("cp-c171", "", 1_584_144, "cp", 171),
    on_opt("lora-r1", "196,608", 196_608, "lora", 1),
    on_opt("lora-r2", "", 393_216, "lora", 2),
    on_opt("lora-r3", "", 589_824, "lora", 3),
    on_opt("lora-r6", "1,179,648", 1_179_648, "lora", 6),
    on_opt("lora-r8", "", 1_572_864, "lora", 8),
    # daskol/lotr, data/table/roberta/glue/lotr.csv.
    lotr_csv(1, 3_096),
    lotr_csv(2, 4_704),
    lotr_csv(8, 15_360),
    lotr_csv(16, 32_256),
    lotr_csv(32, 75_264),
    # arXiv 2405.17604: four matrices per layer of RoBERTa-large.
    lora_xs(4, 1_536),
    lora_xs(12, 13_824),
    lora_xs(16, 24_576),
    lora_xs(20, 38_400),
    lora_xs(25, 60_000),
    # arXiv 2407.11033, as a share of BERT-base's 109,483,778 parameters; arXiv 2310.11454; arXiv 2408.06854 (DeBERTa-v3-base).
    Published("hadamard-bert-8", "0.022%", 24_576, "bert-base", "hadamard", {"layers": 8}),
    Published("vera-roberta-base", "0.043M", 43_008, "roberta-base", "vera", {"rank": 1024}, QV),
    Published("lora2-k1", "0.17M", 167_616, "bert-base", "lora2", {"inner": 1, "rank": 8}, ("q", "k", "v", "o", "fc1", "fc2")),
)
DIFFERING = (
    on_roberta("lora-r8-head", "630k", 887_042, "lora", 8, head=True),
    on_roberta("lorta-r16-M2", "15k", 13_728, "lorta", 16),
    on_roberta("lorta-r16-M4", "15k", 13_760, "lorta", 16, QKVO),
    Published("llama7b-ia3", "0.60M", 614_400, "llama2-7b", "ia3", {}),
    Published("llama13b-loretta_rep", "0.77M", 701_440, "llama2-13b", "loretta_rep", LORETTA_REP, QV, also_train=("norms",)),
)
BY_HAND = {"aurora-r64": ("0.1M", 112_192), "dynalora-16of24": ("0.2M active", 196_608)}
"""Counted in tests of their own: a model that is no preset, and a number that is not the peak."""
BERT_BASE = 109_483_778
"""Parameters of BERT-base with a head for two classes."""


def prints_as(exact: int, text: str) -> bool:
    """Tell whether a source that rounds or truncates would print a number like this."""
    match = re.fullmatch(r"\(?([\d.,]+)([kKM%]?)\)?( active)?", text)
    assert match, text
    digits = match[1].replace(",", "")
    value = exact / {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "%": BERT_BASE / 100}[match[2]]
    decimals = len(digits.partition(".")[2])
    zeros = 0 if decimals else len(digits) - len(digits.rstrip("0"))
    truncated = int(value * 10**decimals) / 10**decimals
    return any(float(digits) == pytest.approx(near) for near in (truncated, *(round(value, decimals - n) for n in range(zeros + 1))))


@pytest.mark.parametrize("entry", REPRODUCED, ids=lambda entry: entry.id)
def test_a_published_count_reproduces(entry: Published) -> None:
    assert entry.counted == entry.exact
    assert not entry.text or prints_as(entry.exact, entry.text)


@pytest.mark.parametrize("entry", DIFFERING, ids=lambda entry: entry.id)
def test_a_count_that_does_not_reproduce_is_documented(entry: Published) -> None:
    assert entry.counted == entry.exact
    assert not prints_as(entry.exact, entry.text)
    assert documented()[entry.id] == (entry.text, entry.exact)


def documented() -> dict[str, tuple[str, int]]:
    """Return the rows of docs/published-counts.md: id -> published text and our count."""
    lines = (ROOT / "docs" / "published-counts.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    assert all(len(row) == 5 and row[4] for row in rows)
    return {row[0].strip("`"): (row[1], int(row[2].replace(",", ""))) for row in rows}


def test_the_documented_table_holds_nothing_else() -> None:
    assert set(documented()) == {entry.id for entry in DIFFERING}


def test_aurora_on_all_matrices_of_blip_base() -> None:
    """ViT layers have q, k, v, o and, in four slices each, fc1 and fc2; text layers q, k and v of self- and cross-attention."""
    attention = dict.fromkeys(QKVO, (768, 768))
    image = {**attention, "fc1": (768, 3072), "fc2": (3072, 768)}
    text = {role: attention[role] for role in ("q", "k", "v")}
    layers = [image] * 12 + [text] * 24
    sites = [
        Site(f"layer.{n}.{role}", role, n, *sides, 12 if role in QKVO else 1, 12)
        for n, layer in enumerate(layers)
        for role, sides in layer.items()
    ]
    published, exact = BY_HAND["aurora-r64"]
    # BERT-base has BLIP-base's hidden size and heads, which is all that the method reads of a base.
    method = method_type("aurora")(shapes(ModelRef(id="bert-base")), sites, {"rank": 64}, {})
    assert sum(p.numel() for p in method.parameters()) == exact
    assert prints_as(exact, published)


def test_dynalora_publishes_what_is_active_at_one_time() -> None:
    kind: type[Method] = method_type("dynalora")
    with attached(shapes(ModelRef(id="roberta-base")), kind, QV, capacity={"rank": 8, "active": 16}, settings={}) as model:
        published, exact = BY_HAND["dynalora-16of24"]
        assert model.method.active_parameters == exact
        assert prints_as(exact, published)
        # One module of q and v in 24 is 12,288: over time, all are trained.
        assert measured(model).counts.peak == 24 * 12_288


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the golden files are not part of a clone")
def test_every_golden_entry_is_here() -> None:
    golden = {entry["id"]: (entry["published"], entry["exact"], entry["reproduces"]) for entry in json.loads(GOLDEN.read_text())}
    here = {entry.id: (entry.text, entry.exact, True) for entry in REPRODUCED}
    here |= {entry.id: (entry.text, entry.exact, False) for entry in DIFFERING if entry.id in golden}
    here |= {name: (text, exact, True) for name, (text, exact) in BY_HAND.items()}
    assert here == golden


@pytest.mark.parametrize(("exact", "text", "expected"), [(294_912, "300k", True), (33_554_432, "33M", True), (13_728, "15k", False)])
def test_rounding_and_truncation(exact: int, text: str, expected: bool) -> None:
    assert prints_as(exact, text) is expected


def test_every_method_named_here_exists() -> None:
    assert {entry.method for entry in (*REPRODUCED, *DIFFERING)} <= set(method_names())
