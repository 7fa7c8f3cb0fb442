"""Exercises of lesson 13."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("13_your_own_text", "Your own text", ())
