"""The doctor: what a machine or cluster lacks for a sweep, each finding with its fix."""
