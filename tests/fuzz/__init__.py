"""Fuzzing of every file that numpylm reads, and of every option: ``python -m tests.fuzz --count 100000 --seed 0``.

An input is a real small file with a mutation, or a command with random flags. It goes through
``numpylm.cli.main.main``, as from the command line. What may happen: exit code 0, or one line ``numpylm: error: …`` and
exit code 1 or 2. What may not: a traceback, a warning of NumPy's, a crash, memory beyond all measure, a hang, and any
other file that is changed, lost or left behind.
"""
