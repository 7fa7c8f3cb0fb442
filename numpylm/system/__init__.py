"""Access to the operating system: files, locks, streams, signals, the shell, other processes."""
