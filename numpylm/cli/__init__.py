"""The commands of ``numpylm``, one room each: ``add_flags(parser)`` and ``run(args)``, which returns the exit code.

What is heavy is imported inside these functions, so that ``numpylm --help`` answers at once.
"""
