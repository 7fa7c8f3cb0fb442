"""The commands of ``numpylm``, one file each: ``add_flags(parser)`` and ``run(args)``, which returns the exit code.

A command imports inside its functions what only it needs.
"""
