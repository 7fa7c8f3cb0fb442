"""Looks inside a layer: at its inner layers, and at the lines of its backward."""
