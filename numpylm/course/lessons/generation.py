"""Exercises of lesson 10."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("10_generation", "Generation", ())
