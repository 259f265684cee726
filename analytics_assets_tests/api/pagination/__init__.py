"""Tests of how a listing gets from one page to the next."""
