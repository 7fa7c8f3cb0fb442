"""Exercises of lesson 06."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("06_attention", "Attention", ())
