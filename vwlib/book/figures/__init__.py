"""Figures: tables and pictures in, matplotlib figures as wide as a page out; nothing is saved or shown.

One theme; every task keeps its colour, marker and place on all pages.
"""
