"""The appendix of a sweep: how its numbers came about, for whoever reviews them, as Markdown and LaTeX with the figures beside."""
