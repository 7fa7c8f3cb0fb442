"""Runs a layer, and measures its gradients against differences of its forward."""
