"""Tests of apisensor/finder."""
