"""Which output depends on which input, forwards and backwards."""
