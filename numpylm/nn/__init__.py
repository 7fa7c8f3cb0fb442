"""The Transformer: parameters, operations, layers, attention, blocks, and the optimizer."""
