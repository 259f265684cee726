"""Tests of the remote API's side: settings, listings, what is new, and what is hidden."""
