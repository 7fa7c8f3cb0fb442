"""The commands of ``numpylm``, one file each: ``add_flags(parser)`` and ``run(args)``, which returns the exit code.

Slow imports are inside these functions, so that ``numpylm --help`` is fast.
"""
