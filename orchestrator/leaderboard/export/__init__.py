"""The board for print: LaTeX tables, and figures as SVG and PDF."""
