"""Fuzzing: each parser that hostile bytes reach, as one function of bytes that must hold whatever they are."""
