"""What is wrong: detectors over calls, and the findings they make. No clock, no database."""
