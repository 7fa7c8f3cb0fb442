"""Checks optimizers and clipping."""
