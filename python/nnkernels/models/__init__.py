"""Conversion from and to other libraries: a module for each source, and shared code."""
