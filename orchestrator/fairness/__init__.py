"""The fairness rules: a certificate before the run, an audit after it."""

from orchestrator.fairness.certificate import Certificate, certify
from orchestrator.fairness.entry import Entry
from orchestrator.fairness.rule import Rule

__all__ = ["Certificate", "Entry", "Rule", "certify"]
