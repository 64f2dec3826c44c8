"""Tests of the composed processes, on this kernel."""
