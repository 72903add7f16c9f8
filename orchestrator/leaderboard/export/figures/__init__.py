"""Figures of the board by matplotlib, as SVG and PDF: the same board gives the same bytes."""
