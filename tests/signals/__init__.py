"""Tests of signals/."""
