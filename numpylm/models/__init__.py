"""Models built from the layers in `numpylm.nn`, one paper per file."""
