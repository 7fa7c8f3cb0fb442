"""Exercises of lesson 05."""

from numpylm.course.exercise import Lesson

LESSON = Lesson("05_layernorm_and_residuals", "Layer norm and residuals", ())
