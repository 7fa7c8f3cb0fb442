"""Compares the numbers of a wrong gradient with the true ones."""
