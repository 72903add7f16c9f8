"""Intervals, comparisons and orders of rows, from what each seed scored on each example. numpy and scipy only, seeded by arguments.

Shapes: S seeds, N examples, G clusters of examples, R rows, T tasks, C contrasts, B draws.
"""
