"""The subject of a check: a student's layer or pair of functions behind one interface."""
