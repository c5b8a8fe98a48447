#!/usr/bin/env python3
"""Counts what the compiled decode kernels cost, by disassembly: no GPU is needed.

Instructions per weight are those that decoding adds to moving the bytes: a decode kernel's, less
those of the same kernel with a codec that only moves what was loaded (cuda_copy_kernels.cu), for
fp16 and divided by the sixteen weights of a thread. Loads, stores and the padding behind the end of
a kernel (NOP, and the branch to itself) do not count; nor do register moves in the copying kernel,
which has to gather what it stores. And no kernel, those of encoding included, may use local memory:
it would be a round trip through DRAM.

check_sass.py --cuobjdump FILE --kernels FILE --copies FILE --architectures 80 90
check_sass.py --skip REASON       says why nothing is checked; exit status 77
check_sass.py --self-test
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS_PER_THREAD = 16
SKIPPED = 77

# Instructions per weight, at most, on any architecture.
LIMITS = {
    "hf8": 5.0,
    "hf8x": 1.5,
    "hf10": 5.5,
    "hf12": 5.63,
    "e2m3": 2.88,
    "e2m5": 2.0,
    "e3m4": 2.0,
    "e4m3": 2.0,
    "e3m6": 2.5,
    "e3m8": 2.63,
    "e2m3r": 2.88,
    "e2m5r": 2.0,
    "e3m4r": 2.0,
    "e4m3r": 2.0,
    "e3m6r": 2.5,
    "e3m8r": 2.63,
    "q8": 1.82,
    "q8b32": 1.94,
    "nf5": 4.44,
    "nf4.58": 11.25,
    "nf4": 3.88,
    "nf3.58": 12.32,
    "nf2.81": 16.69,
    "bf16": 1.5,
    "fp8-e4m3": 3.19,
}

# (architecture, mangled name) -> instructions without their predicates: "PRMT R1, R2, 0x9180, RZ".
Kernels = dict[tuple[int, str], list[str]]
LOAD_OR_STORE = re.compile(r"(LDG|LDC|ULDC|LDCU|STG)\b")
MOVE = re.compile(r"(MOV|IMAD\.MOV)\b")
# The stack pointer, which every kernel sets and none here uses.
PROLOGUE = re.compile(r"\S+ R1, ")


def parse_sass(text: str) -> Kernels:
    kernels: Kernels = {}
    architecture, current = 0, None
    for line in text.splitlines():
        if match := re.match(r"\s*code for sm_(\d+)", line):
            architecture = int(match[1])
        elif match := re.search(r"Function : (\S+)", line):
            current = kernels.setdefault((architecture, match[1]), [])
        elif current is not None and (
            match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][^;]*?)\s*;", line)
        ):
            current.append(match[1])
    return kernels


def parse_resources(text: str) -> dict[str, tuple[int, int]]:
    """Mangled name -> the largest STACK and LOCAL bytes of any architecture."""
    found: dict[str, tuple[int, int]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.search(r"Function (\S+?):", line):
            name = match[1]
        elif match := re.search(r"STACK:(\d+).*LOCAL:(\d+)", line):
            stack, local = found.get(name, (0, 0))
            found[name] = (max(stack, int(match[1])), max(local, int(match[2])))
    return found


def instruction_count(instructions: list[str], is_copy: bool) -> int:
    body = list(instructions)
    while body and body[-1] == "NOP":
        body.pop()
    if body and body[-1].startswith("BRA"):  # to itself, behind the last EXIT
        body.pop()
    body = [i for i in body if not LOAD_OR_STORE.match(i) and not PROLOGUE.match(i)]
    return sum(1 for i in body if not (is_copy and MOVE.match(i)))


def local_memory(kernels: Kernels, resources: dict[str, tuple[int, int]]) -> list[str]:
    found = [
        f"{name} on sm_{architecture}: {instruction}"
        for (architecture, name), body in kernels.items()
        for instruction in body
        if re.match(r"(LDL|STL)\b", instruction)
    ]
    return found + [
        f"{name}: {stack} bytes of stack, {local} of local memory"
        for name, (stack, local) in resources.items()
        if stack or local
    ]


DECODE_KERNEL = re.compile(
    r"12DecodeKernelILNS_12WeightFormatE(\d+)ELNS0_11DecodedTypeE0ELb1E(?P<codec>.*)"
)


def decode_counts(kernels: Kernels, is_copy: bool) -> dict[tuple[int, int], int]:
    """(architecture, number of the format) -> instructions, of flat kernels to fp16."""
    return {
        (architecture, int(match[1])): instruction_count(body, is_copy)
        for (architecture, name), body in kernels.items()
        if (match := DECODE_KERNEL.search(name))
    }


def format_names() -> list[str]:
    """In the order of their numbers, from 1."""
    text = (ROOT / "kernels/format.h").read_text("utf-8")
    return re.findall(r'(?:WeightFormat::k\w+,|\.name =)\s*"([^"]+)"', text)


def per_weight(
    decode: Kernels, copies: Kernels, names: list[str], architectures: list[int]
) -> tuple[dict[str, dict[int, float]], list[str]]:
    decoded, copied = decode_counts(decode, False), decode_counts(copies, True)
    costs: dict[str, dict[int, float]] = {}
    missing = []
    for number, name in enumerate(names, 1):
        for architecture in architectures:
            key = (architecture, number)
            if key not in decoded or key not in copied:
                missing.append(f"{name}: no kernel, or no copy of it, for sm_{architecture}")
                continue
            cost = (decoded[key] - copied[key]) / WEIGHTS_PER_THREAD
            costs.setdefault(name, {})[architecture] = cost
    return costs, missing


def above_limits(costs: dict[str, dict[int, float]], limits: dict[str, float]) -> list[str]:
    return [
        f"{name} on sm_{architecture}: {cost:.2f} instructions per weight, at most {limits[name]}"
        for name, by_architecture in costs.items()
        for architecture, cost in by_architecture.items()
        if cost > limits[name]
    ]


def table(costs: dict[str, dict[int, float]], architectures: list[int]) -> str:
    lines = ["instructions per weight, beyond load, store and copy"]
    lines.append(f"{'':10}{'at most':>8}" + "".join(f"{f'sm_{a}':>8}" for a in architectures))
    for name, cost in costs.items():
        row = "".join(f"{cost[a]:8.2f}" if a in cost else f"{'-':>8}" for a in architectures)
        lines.append(f"{name:10}{LIMITS[name]:8.2f}{row}")
    return "\n".join(lines)


def self_test() -> None:
    """Controls: local memory and too many instructions are found, and padding is not counted."""
    name = "_ZN12DecodeKernelILNS_12WeightFormatE1ELNS0_11DecodedTypeE0ELb1E4CodecEEv"

    def sass(body: list[str]) -> Kernels:
        lines = ["\tcode for sm_80", f"\t\tFunction : {name}"]
        body = [*body, "@P0 EXIT ;", "EXIT ;", "BRA 0x40;", "NOP;", "NOP;"]
        lines += [f"        /*{16 * i:04x}*/   {line}  /* 0x0 */" for i, line in enumerate(body)]
        return parse_sass("\n".join(lines))

    skeleton = ["MOV R1, c[0x0][0x28] ;", "IMAD R5, R4, 0x10, RZ ;", "@P0 LDG.E R4, [R2] ;"]
    copy = sass([*skeleton, "IMAD.MOV.U32 R6, RZ, RZ, R4 ;"])
    decode = sass(skeleton + ["PRMT R4, R4, 0x9180, RZ ;"] * 31 + ["MOV R5, R4 ;"])
    assert decode_counts(copy, is_copy=True) == {(80, 1): 3}
    costs, missing = per_weight(decode, copy, ["hf8"], [80])
    assert costs == {"hf8": {80: 2.0}} and not missing
    assert not above_limits(costs, {"hf8": 2.0}) and above_limits(costs, {"hf8": 1.99})
    assert per_weight(decode, copy, ["hf8"], [80, 90])[1]
    assert not local_memory(decode, {name: (0, 0)})
    assert local_memory(sass(["@!P1 LDL.64 R1, [R1] ;"]), {})
    assert local_memory(sass(["STL [R1], R1 ;"]), {})
    usage = f" Function {name}:\n  REG:8 STACK:64 SHARED:0 LOCAL:0 CONSTANT[0]:3"
    assert local_memory(copy, parse_resources(usage))
    assert set(format_names()) == set(LIMITS), set(format_names()) ^ set(LIMITS)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuobjdump", type=Path)
    parser.add_argument("--kernels", type=Path)
    parser.add_argument("--copies", type=Path)
    parser.add_argument("--architectures", type=int, nargs="+", default=[80, 86, 89, 90])
    parser.add_argument("--skip", metavar="REASON")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    self_test()
    if arguments.self_test:
        return 0
    if arguments.skip:
        print(f"skipped: {arguments.skip}")
        return SKIPPED
    tool = arguments.cuobjdump

    def dump(option: str, path: Path) -> str:
        # It calls nvdisasm, which lies beside it.
        path_variable = f"{tool.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return subprocess.run(
            [str(tool), option, str(path)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path_variable},
        ).stdout

    decode = parse_sass(dump("-sass", arguments.kernels))
    copies = parse_sass(dump("-sass", arguments.copies))
    resources = parse_resources(dump("--dump-resource-usage", arguments.kernels))
    costs, found = per_weight(decode, copies, format_names(), arguments.architectures)
    print(table(costs, arguments.architectures))
    found += above_limits(costs, LIMITS)
    found += local_memory(decode, resources)
    print("\n".join(found) if found else f"{len(decode)} kernels keep the limits, in registers")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
