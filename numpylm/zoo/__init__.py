"""A zoo of faulty layers: real bugs, kept where they can do no harm, for students to find and for the checker to name.

Each animal is one small change to our own code (see `numpylm.zoo.layers` and its neighbours), made when it is
asked for: the module's source is taken, a line replaced, and the result run as a module of its own. So the
animals cannot drift from the layers that they were made of.
"""

from numpylm.check.mutants import Fault, World
from numpylm.zoo.catalog import animals, check, get

__all__ = ["Fault", "World", "animals", "check", "get"]
