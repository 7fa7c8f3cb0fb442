"""The names of the files in a run folder that several parts of numpylm use."""

BEST = "best.npz"  # the checkpoint with the lowest validation loss
LAST = "last.npz"  # the checkpoint of the last step that was saved; a run is resumed from it
CHECKPOINTS = (BEST, LAST)  # each run folder contains one of these
METRICS = "metrics.jsonl"  # a line for each evaluation
SCORES = "scores.json"  # what a task measures on the best checkpoint at the end
LOCK = ".lock"  # exists while a process trains in the folder
