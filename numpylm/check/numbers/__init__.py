"""What a wrong gradient's numbers look like beside the true ones."""
