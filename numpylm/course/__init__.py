"""The course: lessons in ``notebooks/``, in which a student derives, writes and proves every gradient of a GPT.

A lesson's cells use `check` (is this exercise right, and what to go on with), `swap` (put a student's layers
into our model), `collect` (a student's layers as one module), `storyteller` and `stories` (what the lessons
read), and `style`, `heatmap` and `map_of_gpt` (pictures). ``numpylm course`` lists what has been solved.
"""

from numpylm.course.checking import check
from numpylm.course.collect import collect, swap
from numpylm.course.data import stories, storyteller
from numpylm.course.pictures import heatmap, map_of_gpt, style

__all__ = ["check", "collect", "heatmap", "map_of_gpt", "stories", "storyteller", "style", "swap"]
