"""Exercises of lesson 09."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("09_training", "Training", ())
