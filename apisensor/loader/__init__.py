"""Compiles and loads `bpf/` with BCC: a program on the standard library alone, the only one that imports bcc.

It runs under the distribution's Python (`/usr/bin/python3`), so that the rest of the sensor runs on any Python >= 3.11
and LLVM's memory goes when it exits. `__main__` is its edge; `load` its work, in this order:

    btf, back_ends     what the running kernel is and offers
    macros, source     what is to be compiled for it
    cache | compiler   the compiled programs: kept from an earlier start, or made by BCC over a folder from `headers`
    programs, kernel   map references put in, maps made, programs loaded
"""
