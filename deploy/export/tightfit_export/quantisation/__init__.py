"""Weights that other programs made smaller, read as the ordinary tensors they stand for.

A file for each way of doing it; `restored.py` joins them. Nothing is guessed: what is not known to
the last option is refused by name, in one line, before anything large is read.
"""
