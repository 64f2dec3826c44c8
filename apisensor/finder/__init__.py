"""The finder: answers where a library's functions lie, given an open file. It runs in the sandbox: ELF files of
containers are hostile bytes like any others."""
