"""Bytes in order: positions, losses and overlaps of each direction of each flow, and the limits of the analysis."""
