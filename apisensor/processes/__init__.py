"""The processes of the sensor, each composed in one module: run, capture, finder, worker, core, replay."""
