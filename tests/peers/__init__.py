"""Real clients and servers that log their own calls: the ground truth the sensor is measured against.

`scenario` composes a server, a client and a plan, `scenarios` lists what is tried, `plan` decides what is asked;
`nginx`, `curl` and `programs/` are the peers; `containers` runs two of them in podman. Nothing here knows the sensor:
that the peers agree with each other is tested without it.
"""
