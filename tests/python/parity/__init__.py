"""Compares the server's pipeline with diffusers on the same weights."""
