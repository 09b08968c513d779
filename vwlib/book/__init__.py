"""The book: how its chapters are run and built, its tables, figures and pages of scripts."""
