"""The official scoring rules, one file per rule: plain functions over texts, values in 0..1."""
