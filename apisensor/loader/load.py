"""The loader's work: from parameters to loaded programs and maps, and the answer that names them."""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from apisensor.loader import cache, compiler, kernel
from apisensor.loader.back_ends import choose_back_end, function_of, loadable, programs_in_kernel
from apisensor.loader.btf import Btf
from apisensor.loader.errors import CacheError, LoaderError
from apisensor.loader.programs import Compiled, relocate
from apisensor.loader.source import LAYOUTS, MAPS, RING_TEMPLATE, UPROBES, Source, source_of

MAX_DESCRIPTORS = 250
"""SCM_MAX_FD is 253: the kernel passes no more descriptors in one message."""

PAGE = 4096

MOST_THREADS = 4
"""Programs loaded at once: there are three long ones."""

KINDS = {
    "tracepoint": (kernel.BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "kprobe": (kernel.BPF_PROG_TYPE_KPROBE, 0),
    "fexit": (kernel.BPF_PROG_TYPE_TRACING, kernel.BPF_TRACE_FEXIT),
}
"""What programs with a place in the kernel are loaded as: type, and how they are to be attached."""


def load(parameters: dict[str, Any], directory: str) -> tuple[dict[str, Any], list[int], Any]:
    """Compiles and loads everything. Returns (answer, descriptors, what the descriptors live as long as)."""
    if platform.machine() != "x86_64":
        raise LoaderError(f"this processor ({platform.machine()}) is not supported yet: only x86-64 is")
    btf = Btf()
    back_end = choose_back_end(parameters["back_end"], btf)
    in_kernel = loadable(programs_in_kernel(back_end, btf), btf)
    source = source_of(parameters["macros"], directory, back_end, btf)
    made, map_descriptors, owner, said = compiled(source, parameters.get("cache"))
    maps = {one.name: descriptor for one, descriptor in zip(made.maps, map_descriptors, strict=True)}
    places = dict(enumerate(map_descriptors))
    code = {name: relocate(kept, places) for name, kept in made.programs.items()}
    multi = kernel.has_uprobe_multi()
    kinds = {label: (*KINDS[label.partition(":")[0]], in_kernel[label]) for label in in_kernel}
    attach = kernel.BPF_TRACE_UPROBE_MULTI if multi else 0
    kinds |= {f"uprobe:{name}": (kernel.BPF_PROG_TYPE_KPROBE, attach, 0) for name in UPROBES}
    ring_bytes = parameters["macros"]["RING_PAGES"] * PAGE
    rings = kernel.make_rings(maps["rings"], maps[RING_TEMPLATE], parameters["workers"], ring_bytes)
    given = {
        **load_functions(code, kinds),
        **{f"map:{name}": maps[name] for name in MAPS},
        **{f"inner:{name}": maps[name] for name in sorted(maps.keys() - {*MAPS, *LAYOUTS, RING_TEMPLATE})},
        **{f"ring:{index}": ring for index, ring in enumerate(rings)},
    }
    if len(given) > MAX_DESCRIPTORS:
        raise LoaderError(f"{len(given)} descriptors do not fit in one message: use fewer workers")
    answer = {
        "descriptors": list(given),
        "uprobe_multi": multi,
        "back_end": back_end,
        "layouts": made.layouts,
        "programs": said,
    }
    return answer, list(given.values()), owner


def compiled(source: Source, path: str | None) -> tuple[Compiled, list[int], Any, str]:
    """From the cache where it is there, else compiled and kept; with what there is to say of it."""
    if path is None:
        return (*compiler.compile_with_bcc(source), "compiled")
    # The salt is another one each time; with kept programs it is theirs, in a file that only root may read.
    flags = [flag for flag in source.flags if not flag.startswith("-DPAIR_SALT=")]
    key = cache.key(source.text, " ".join(flags), " ".join(source.functions), compiler.version())
    said = "compiled"
    try:
        kept = cache.read(path, key)
        if kept is not None:
            return kept, kernel.create_maps(kept.maps), None, "from the cache"
    except (CacheError, OSError) as error:
        said = f"compiled, as the cache cannot be used ({error})"
    made, maps, owner = compiler.compile_with_bcc(source)
    try:
        cache.write(path, key, made)
    except CacheError as error:
        said += f"; they are not kept ({error})"
    return made, maps, owner, said


def load_functions(code: dict[str, bytes], kinds: dict[str, tuple[int, int, int]]) -> dict[str, int]:
    """Descriptors of the loaded programs by what they are attached to, in the order of `kinds`.

    The verifier needs a second of processor time, most of it for three programs: longest first, side by side.
    """

    def load_kind(label: str) -> int:
        name = function_of(label)
        return load_function(code[name], name, *kinds[label])

    longest = sorted(kinds, key=lambda label: -len(code[function_of(label)]))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as threads:
        loaded = dict(zip(longest, threads.map(load_kind, longest), strict=True))
    return {label: loaded[label] for label in kinds}


def load_function(code: bytes, name: str, kind: int, attach: int, function: int) -> int:
    """The descriptor of one loaded program; the verifier's own words are on standard error when it refuses."""
    try:
        return kernel.load_program(name, code, kind, attach, function)
    except OSError as error:
        why, _, words = (error.strerror or "").partition("\n")
        print(words, file=sys.stderr)
        raise LoaderError(f"the kernel refuses the program {name}: {why} (the verifier's lines are above)") from error
