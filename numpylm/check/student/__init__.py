"""Checking a file that somebody else wrote: what is in it, what to feed it, and how it compares with ours."""

from numpylm.check.student.check import check_file, check_found
from numpylm.check.student.compare import compare
from numpylm.check.student.find import Found, choose, find, load_file
from numpylm.check.student.references import REFERENCES

__all__ = ["REFERENCES", "Found", "check_file", "check_found", "choose", "compare", "find", "load_file"]
