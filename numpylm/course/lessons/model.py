"""Exercises of lesson 07."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("07_the_whole_model", "The whole model", ())
