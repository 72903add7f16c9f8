"""The tuners of HF PEFT that a sweep may compare: a table, and the reasons for those that are left out.

Left out of every entry are dropout, regulariser weights, `modules_to_save`, `target_modules`, alpha-like scalings (they are what
`scale` multiplies) and initialisations that change the base's weights. Defaults and documentation are HF PEFT's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainers.adapters.copies import NORMS
from trainers.methods import _peft_parts
from trainers.methods._peft_parts import Parts, Sides

ANY: tuple[Any, ...] = ()
"""Choices of a setting that takes any value of its default's type."""


@dataclass(frozen=True)
class Tuner:
    """One tuner of HF PEFT, by the keys of its own config class."""

    family: str
    reference: str
    capacity: tuple[str, ...] = ("r",)
    """Keys that set the number of parameters; the first is what a budget solves."""
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Structural keys with the values they may take."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values that every sweep uses, where HF PEFT's default would not be reproducible, or would be stored needlessly."""
    scaling: str | None = None
    """The alpha-like key that `scale` multiplies."""
    draws: bool = True
    """Whether something is drawn at the start."""
    seed: str | None = None
    """The key of the seed of frozen random projections or index sets."""
    dropout: str | None = None
    within_side: bool = False
    """Whether the first capacity key is a rank that may not exceed the smaller side of a matrix."""
    trains_at_start: tuple[str, ...] = ("*",)
    starts_as: Literal["identity", "near", "other"] = "identity"
    mergeable: bool = True
    exports_lora: bool = False
    trains_extra: tuple[str, ...] = ()
    penalised: bool = False
    form: Literal["layers", "ia3", "norms", "attention", "embedding", "adalora", "prompt"] = "layers"
    """How it attaches: which class of the bridge runs it."""
    base_weights: Literal["run", "read_at_start", "read_in_training"] = "run"
    """When the tuner reads the base's matrices, other than inside the forward pass of its layers."""
    parts: Callable[[Mapping[str, Any], Sides], Parts] | None = None
    """What the tuner stores, for counting; only of tuners whose construction needs the base's weights."""


_ROTATION = {"use_cayley_neumann": (True, False), "num_cayley_neumann_terms": ANY}
_UNSAVED = {"save_projection": False}

TUNERS: Mapping[str, Tuner] = {
    "adalora": Tuner(
        "low-rank",
        "arXiv 2303.10512",
        capacity=("target_r",),
        settings={"init_r": ANY, "tinit": ANY, "tfinal": ANY, "deltaT": ANY, "use_rslora": (False, True)},
        scaling="lora_alpha",
        dropout="lora_dropout",
        within_side=True,
        trains_at_start=("lora_E.*",),
        penalised=True,
        form="adalora",
    ),
    "adamss": Tuner(
        "low-rank",
        "AdaMSS, NeurIPS 2025",
        capacity=("subspace_rank",),
        settings={"r": ANY, "num_subspaces": ANY},
        trains_at_start=("adamss_B.*",),
        parts=_peft_parts.adamss,
        base_weights="read_at_start",
    ),
    "adaption_prompt": Tuner(
        "prompt",
        "arXiv 2303.16199",
        capacity=("adapter_len",),
        settings={"adapter_layers": ANY},
        trains_at_start=("adaption_gate.*",),
        mergeable=False,
        form="attention",
    ),
    "beft": Tuner("scaling", "arXiv 2509.15974", draws=False, capacity=(), mergeable=False),
    "boft": Tuner(
        "structured",
        "arXiv 2311.06243",
        draws=False,
        capacity=("boft_block_size",),
        settings={"boft_n_butterfly_factor": ANY},
        dropout="boft_dropout",
    ),
    "c3a": Tuner(
        "structured",
        "arXiv 2407.19342",
        capacity=("block_size",),
        settings={"init_weights": ("xavier_uniform", "kaiming_uniform", "gaussian", True)},
        starts_as="other",
    ),
    "cartridge": Tuner(
        "prompt",
        "arXiv 2506.06266",
        capacity=("num_virtual_tokens",),
        settings={"num_frozen_tokens": ANY},
        starts_as="other",
        mergeable=False,
        form="prompt",
    ),
    "deft": Tuner(
        "low-rank",
        "arXiv 2509.22793",
        settings={"decomposition_method": ("relu", "qr"), "para": (False, True)},
        dropout="deft_dropout",
        within_side=True,
        base_weights="read_at_start",
    ),
    "delora": Tuner(
        "low-rank",
        "arXiv 2503.18225",
        scaling="delora_lambda",
        within_side=True,
        trains_at_start=("delora_B.*",),
        base_weights="read_at_start",
    ),
    "fourierft": Tuner(
        "structured",
        "arXiv 2405.03003",
        capacity=("n_frequency",),
        settings={"init_weights": (False, True)},
        scaling="scaling",
        seed="random_loc_seed",
        starts_as="other",
    ),
    "frod": Tuner(
        "structured",
        "doi 10.1609/aaai.v40i31.39813",
        capacity=("sparse_rate",),
        fixed={**_UNSAVED, "progressbar": False},
        seed="projection_prng_key",
        dropout="frod_dropout",
        parts=_peft_parts.frod,
        base_weights="read_at_start",
    ),
    "glora": Tuner(
        "low-rank",
        "arXiv 2306.07967",
        settings={
            "config_A_B": ("lora", "vector", "constant", "none"),
            "config_C": ("lora", "vector", "none"),
            "config_D_E": ("constant", "vector", "none"),
        },
        within_side=True,
        trains_at_start=("glora_?.*/Xd", "glora_?.*/X"),
    ),
    "gralora": Tuner(
        "low-rank",
        "arXiv 2505.20355",
        settings={"gralora_k": ANY, "hybrid_r": ANY},
        scaling="alpha",
        dropout="gralora_dropout",
        within_side=True,
        trains_at_start=("gralora_B.*", "gralora_B_general.*"),
    ),
    "hira": Tuner(
        "low-rank",
        "HiRA, ICLR 2025, openreview TwJrTz9cRS",
        settings={"init_weights": (True, "gaussian")},
        dropout="hira_dropout",
        within_side=True,
        trains_at_start=("hira_B.*",),
    ),
    "hra": Tuner("structured", "arXiv 2405.17484", settings={"apply_GS": (False, True)}, within_side=True),
    "ia3": Tuner("scaling", "arXiv 2205.05638", draws=False, capacity=(), form="ia3"),
    "ln_tuning": Tuner("scaling", "arXiv 2312.11420", draws=False, capacity=(), trains_extra=(NORMS,), form="norms"),
    "loha": Tuner(
        "structured",
        "arXiv 2108.06098",
        scaling="alpha",
        dropout="rank_dropout",
        within_side=True,
        trains_at_start=("hada_w2_b.*",),
        base_weights="read_at_start",
    ),
    "lokr": Tuner(
        "structured",
        "arXiv 2309.14859",
        settings={"decompose_both": (False, True), "decompose_factor": ANY},
        scaling="alpha",
        dropout="rank_dropout",
        within_side=True,
        trains_at_start=("lokr_w1.*", "lokr_w1_a.*"),
    ),
    "lora": Tuner(
        "low-rank",
        "arXiv 2106.09685",
        settings={"use_rslora": (False, True), "use_dora": (False, True), "init_lora_weights": (True, "gaussian")},
        scaling="lora_alpha",
        dropout="lora_dropout",
        within_side=True,
        trains_at_start=("lora_B.*", "lora_magnitude_vector.*"),
        exports_lora=True,
    ),
    "miss": Tuner(
        "low-rank", "arXiv 2409.15371", draws=False, settings={"init_weights": (True, "bat", "mini"), "mini_r": ANY}, dropout="miss_dropout"
    ),
    "oft": Tuner(
        "structured",
        "arXiv 2306.07280",
        draws=False,
        capacity=("oft_block_size",),
        # Its module_dropout is never applied (peft 0.21.2).
        settings={"block_share": (False, True), "coft": (False, True), "eps": ANY, **_ROTATION},
    ),
    "osf": Tuner(
        "structured", "arXiv 2504.07097", draws=False, capacity=("effective_rank",), within_side=True, base_weights="read_at_start"
    ),
    "p_tuning": Tuner(
        "prompt",
        "arXiv 2103.10385",
        capacity=("num_virtual_tokens",),
        settings={"encoder_reparameterization_type": ("MLP", "LSTM"), "encoder_hidden_size": ANY, "encoder_num_layers": ANY},
        starts_as="other",
        mergeable=False,
        form="prompt",
    ),
    "peanut": Tuner(
        "low-rank", "arXiv 2410.01870", settings={"depth": ANY, "act_fn": ANY}, scaling="scaling", trains_at_start=("peanut_B.*",)
    ),
    "prefix_tuning": Tuner(
        "prompt",
        "arXiv 2101.00190",
        capacity=("num_virtual_tokens",),
        settings={"prefix_projection": (False, True), "encoder_hidden_size": ANY, "init_weights": (None, "zero")},
        starts_as="other",
        mergeable=False,
        form="prompt",
    ),
    "prompt_tuning": Tuner(
        "prompt",
        "arXiv 2104.08691",
        capacity=("num_virtual_tokens",),
        settings={"prompt_tuning_init": ("RANDOM", "SAMPLE_VOCAB")},
        starts_as="other",
        mergeable=False,
        form="prompt",
    ),
    "psoft": Tuner(
        "structured",
        "PSOFT, ICLR 2026, openreview FSHrinMArK",
        draws=False,
        settings={
            "psoft_orth": (True, False),
            "psoft_mag_a": (True, False),
            "psoft_mag_b": (True, False),
            "psoft_svd": ("full", "lowrank"),
            "use_cayley_neumann": (False, True),
            "num_cayley_neumann_terms": ANY,
        },
        scaling="psoft_alpha",
        seed="random_seed",
        dropout="psoft_dropout",
        within_side=True,
        base_weights="read_at_start",
    ),
    "pvera": Tuner(
        "low-rank",
        "arXiv 2512.07703",
        settings={"d_initial": ANY},
        fixed=_UNSAVED,
        seed="projection_prng_key",
        dropout="pvera_dropout",
        trains_at_start=("pvera_lambda_b.*",),
    ),
    "randlora": Tuner(
        "low-rank",
        "arXiv 2502.00987",
        settings={"sparse": (False, True), "very_sparse": (False, True)},
        fixed=_UNSAVED,
        scaling="randlora_alpha",
        seed="projection_prng_key",
        dropout="randlora_dropout",
        within_side=True,
        trains_at_start=("randlora_lambda.*",),
    ),
    "road": Tuner(
        "scaling", "arXiv 2409.00119", draws=False, capacity=(), settings={"variant": ("road_1", "road_2", "road_4"), "group_size": ANY}
    ),
    "shira": Tuner("sparse", "arXiv 2406.13175", seed="random_seed", within_side=True, parts=_peft_parts.shira),
    "supertuning": Tuner(
        "sparse",
        "arXiv 2607.09287",
        draws=False,
        capacity=("sparsity",),
        settings={"select_top": (True, False)},
        base_weights="read_at_start",
    ),
    "tinylora": Tuner(
        "low-rank",
        "arXiv 2602.04118",
        capacity=("u",),
        settings={"r": ANY, "weight_tying": ANY},
        fixed=_UNSAVED,
        seed="projection_seed",
        dropout="tinylora_dropout",
        base_weights="read_at_start",
    ),
    "trainable_tokens": Tuner(
        "embedding", "-", draws=False, capacity=(), settings={"token_indices": ANY}, form="embedding", base_weights="read_at_start"
    ),
    "unilora": Tuner(
        "low-rank",
        "arXiv 2506.00799",
        capacity=("theta_d_length",),
        settings={"r": ANY},
        seed="proj_seed",
        dropout="unilora_dropout",
        starts_as="near",
        parts=_peft_parts.unilora,
    ),
    "vblora": Tuner(
        "low-rank",
        "arXiv 2405.15179",
        capacity=("num_vectors",),
        settings={"r": ANY, "vector_length": ANY, "topk": ANY},
        dropout="vblora_dropout",
        starts_as="near",
    ),
    "vera": Tuner(
        "low-rank",
        "arXiv 2310.11454",
        settings={"d_initial": ANY},
        fixed=_UNSAVED,
        seed="projection_prng_key",
        dropout="vera_dropout",
        trains_at_start=("vera_lambda_b.*",),
    ),
    "waveft": Tuner(
        "structured",
        "arXiv 2505.12532",
        capacity=("n_frequency",),
        settings={"wavelet_family": ANY, "use_idwt": (True, False)},
        scaling="scaling",
        seed="random_loc_seed",
    ),
}

UNSUPPORTED: Mapping[str, str] = {
    "cpt": "it trains on labelled context examples with a loss of its own, not on plain next-token prediction",
    "lily": "its router averages over a whole batch, so that a token's output depends on later tokens and on other rows",
    "multitask_prompt_tuning": "it learns one prompt for several tasks at once; a trial has one task. Use peft/prompt_tuning",
    "poly": "it mixes skills over several tasks by task ids; a trial has one task",
    "shadow": "it trains a second network with an auxiliary loss inside its own forward pass, not on plain next-token prediction",
    "xlora": "it mixes LoRA adapters that are trained already",
}
"""Why the other tuners of HF PEFT cannot be compared here."""
