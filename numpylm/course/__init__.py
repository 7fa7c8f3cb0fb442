"""The course: lessons in ``notebooks/``, in which students derive, write and check every gradient of a GPT.

The cells of a lesson use `check` (test an exercise, and return the function to continue with), `swap` (put a student's
layers into our model), `collect` (write a student's layers into one module), `storyteller` and `stories` (the model and
the texts), and `style`, `heatmap`, `map_of_gpt` and
`query_key_value_picture` (plots). ``numpylm course`` lists the solved exercises.
"""

from numpylm.course.checking import check
from numpylm.course.collect import collect, swap
from numpylm.course.data import stories, storyteller
from numpylm.course.pictures import heatmap, map_of_gpt, query_key_value_picture, style

__all__ = [
    "check",
    "collect",
    "heatmap",
    "map_of_gpt",
    "query_key_value_picture",
    "stories",
    "storyteller",
    "style",
    "swap",
]
