"""Exercises of lesson 03."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("03_checking_gradients", "Checking gradients", ())
