"""The sweep that is disturbed: a few trials of a few steps, the same bits in every run."""

from __future__ import annotations

NAME = "faults"
STEPS, EVALUATIONS = 20, 4
SELECT, REPORT = 4, 2
"""Trials of the two methods in either phase; the untuned model makes one more."""

SWEEP = f"""
name: {NAME}
model: micro-llama
tasks: [squad]
data: {{source: embedded, train: 12, selection: 4, test: 4}}
methods:
  lora: {{rank: [2]}}
  planted: {{rank: [2]}}
targets: [q, v]
grid: {{learning_rate: [1.0e-3, 1.0e-2]}}
training: {{steps: {STEPS}, batch_size: 4, max_length: 64, max_new_tokens: 2, checkpoint: {{best: loss, evaluations: {EVALUATIONS}}}}}
seeds: {{select: [100], report: [0]}}
resources: {{cpus: 1}}
"""

GROUPS = ("resources={cpus: 1, workers: 2}",)
"""Makes each trial a group of two."""

# As distribution metadata on the path, which is all that an entry point needs.
ENTRY_POINTS = "[fairsweep.methods]\nplanted = fairsweep_planted:METHOD\n"
METADATA = "Metadata-Version: 2.1\nName: fairsweep-planted\nVersion: 1\n"
