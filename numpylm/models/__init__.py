"""Models made of the layers in `numpylm.nn`, one paper a file."""
