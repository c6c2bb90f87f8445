#!/usr/bin/python3
"""Makes hdr_hash.h from hdr.def: a multiplier that sends every known field name to a slot of its own.

Run from the top directory: worker/http/hdr_hash.py > worker/http/hdr_hash.h
"""
import pathlib
import random
import re

BITS = 9
HERE = pathlib.Path(__file__).parent


def key(name):
    """The bytes of a name that the hash looks at; must agree with hdr_slot() in hdr.c."""
    s = name.lower().encode()
    n = len(s)
    fold = [c | 0x20 for c in s]
    return n | fold[0] << 8 | fold[n // 2] << 16 | fold[n * 3 // 4] << 24 | fold[n - 1] << 32


def main():
    names = re.findall(r'^HDR\((\w+), "([^"]+)"', (HERE / "hdr.def").read_text(), re.M)
    keys = [key(name) for _, name in names]
    if len(set(keys)) != len(keys):
        clash = [name for _, name in names if keys.count(key(name)) > 1]
        raise SystemExit(f"these names look alike to the hash, let it see another byte: {clash}")
    rng = random.Random(1)
    while True:
        mul = rng.getrandbits(64) | 1
        seen = set()
        for k in keys:
            slot = (k * mul & (1 << 64) - 1) >> (64 - BITS)
            if slot in seen:
                break
            seen.add(slot)
        else:
            break
    print("/*\n * hdr_hash.h - where each name of hdr.def is found. Made by hdr_hash.py; not for editing by hand.\n */")
    print("#ifndef WORKER_HTTP_HDR_HASH_H\n#define WORKER_HTTP_HDR_HASH_H\n")
    print('#include <stdint.h>\n\n#include "worker/http/head.h"\n')
    print(f"#define HDR_HASH_BITS {BITS}\n#define HDR_HASH_MUL {mul:#x}u\n")
    print("static const uint8_t hdr_slots[1u << HDR_HASH_BITS] = {")
    for (ident, _), k in sorted(zip(names, keys), key=lambda x: (x[1] * mul & (1 << 64) - 1) >> (64 - BITS)):
        print(f"\t[{(k * mul & (1 << 64) - 1) >> (64 - BITS)}] = HDR_{ident},")
    print("};\n\n#endif")


main()
