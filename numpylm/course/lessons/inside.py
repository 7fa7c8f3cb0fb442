"""Exercises of lesson 11."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("11_looking_inside", "Looking inside", ())
