"""Tests of schedules, freshness, alerts and dead hosts."""
