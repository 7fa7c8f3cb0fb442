"""Checks a student's file: what is in it, what inputs its layers need, and how they compare with ours."""

from numpylm.check.student.check import check_file, check_found
from numpylm.check.student.compare import compare, same_as_ours
from numpylm.check.student.find import Found, find, items_to_check, load_file
from numpylm.check.student.references import REFERENCES

__all__ = [
    "REFERENCES",
    "Found",
    "check_file",
    "check_found",
    "compare",
    "find",
    "items_to_check",
    "load_file",
    "same_as_ours",
]
