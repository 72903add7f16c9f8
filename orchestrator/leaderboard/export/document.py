r"""A LaTeX file that compiles by itself, and that a paper can take in with \input where the table belongs."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.leaderboard.columns import printable

_FILE = r"""%% %(comment)s
%% Compile this file by itself, or \input it into a document that loads these packages: %(names)s.
\expandafter\ifx\csname @twoclasseserror\endcsname\documentclass
  \let\fairsweepend\relax
\else
  \documentclass[10pt]{article}
  \usepackage[a4paper,margin=18mm]{geometry}
%(packages)s
  \raggedbottom
  \begin{document}
  \def\fairsweepend{\end{document}}
\fi
%(body)s
\fairsweepend
"""


def document(comment: str, packages: Sequence[str], body: str) -> str:
    """Return the text of the file.

    Args:
        comment: the file's first line.
        packages: names of the packages that the body needs.
    """
    return _FILE % {
        "comment": printable(comment),
        "names": ", ".join(packages),
        "packages": "\n".join(rf"  \usepackage{{{package}}}" for package in packages),
        "body": body.strip(),
    }
