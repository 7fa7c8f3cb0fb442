"""Exercises of lesson 12."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("12_bug_hunt", "Bug hunt", ())
