"""The detectors, one file each. detect/detection.py lists them."""
