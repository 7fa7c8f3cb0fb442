"""Checking optimizers and clipping."""
