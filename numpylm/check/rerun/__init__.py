"""Runs the layer again under other conditions."""
