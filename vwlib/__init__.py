"""Learned words across models. `README.md` in this folder says where each step of the paper stands."""
