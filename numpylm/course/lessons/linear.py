"""Exercises of lesson 04."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("04_linear_and_mlp", "Linear layers and the MLP", ())
