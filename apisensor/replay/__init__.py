"""Sources for offline work: packet captures and the sensor's own recordings, as the events a live capture yields."""
