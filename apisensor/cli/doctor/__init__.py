"""`apisensor doctor`: what the sensor needs of a node, what is there, and what to do about the difference.

`facts` are probed (probes.py, bpf.py: /proc, /sys, a few system calls, nothing written), then judged by
small pure functions (kernel_checks.py, node_checks.py) that tests feed with made-up facts.
"""
