"""The fairness rules: a certificate before the run, an audit after it."""

from orchestrator.fairness.certificate import Certificate, certify
from orchestrator.fairness.conduct import Conduct, OtherReads
from orchestrator.fairness.edges import NO_DOMAIN, Edge, edges_by_cell
from orchestrator.fairness.entry import Entry
from orchestrator.fairness.rule import Rule

__all__ = ["NO_DOMAIN", "Certificate", "Conduct", "Edge", "Entry", "OtherReads", "Rule", "certify", "edges_by_cell"]
