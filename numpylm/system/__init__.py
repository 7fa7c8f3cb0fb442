"""The machine around: files, locks, streams, signals, the shell, other processes."""
