"""Trains emoji-xl, the default model."""
