"""The capture process: which processes there are, what is attached to them, and the kernel's counters.

It holds named capabilities and parses neither payload nor ELF files: see finder/ and docs/privileges.md.
"""
