"""Exercises of lesson 01."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("01_tokens", "Tokens", ())
