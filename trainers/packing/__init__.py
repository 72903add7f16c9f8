"""Packing: several trials train in one process at the same time, and share the passes over their base model.

A trial is a *lane*: a thread with an adapter, an optimiser, a schedule and random generators of its own. `Pack` holds the lanes on one
base. A lane that is to pass the base, forward or backward, waits until all lanes do; then one of them runs the passes that are of equal
kind as one batch. `twins` gives every lane a base of its own, module by module, around the same weights; `board` hooks the lanes' methods
into the base that the joint passes run on.
"""
