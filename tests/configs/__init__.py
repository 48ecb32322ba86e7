"""Tests of the configuration schema and its files."""
