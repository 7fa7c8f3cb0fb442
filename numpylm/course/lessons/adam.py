"""Exercises of lesson 08."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("08_adam", "Adam", ())
