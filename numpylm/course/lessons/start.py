"""Exercises of lesson 00."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("00_start_here", "Start here", ())
