"""A zoo of faulty layers: realistic bugs that students find and that the checker must explain.

Each animal is one small change to our own code (see `numpylm.zoo.faulty_layers` and the other files here). It is built on
request: the source of the module is read, one line is replaced, and the result is run as a separate module. So the
animals always match the current code of the layers.
"""

from numpylm.check.mutants import World
from numpylm.zoo.catalog import animals, check, get
from numpylm.zoo.fault import Fault

__all__ = ["Fault", "World", "animals", "check", "get"]
