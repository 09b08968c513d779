"""Figures: tables and pictures in, matplotlib figures out. One theme; every task keeps its colour, marker and place on
all pages.

Each function returns a `Figure` of its own, saves nothing and shows nothing. Figures are as wide as a page of the book,
so that text has the same size in all of them.
"""
