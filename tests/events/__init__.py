"""Tests of apisensor/events."""
