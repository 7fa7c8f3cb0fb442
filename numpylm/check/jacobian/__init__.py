"""Compares which output depends on which input, in forward and in backward."""
