#!/usr/bin/env python3
"""Brings the source lists of Makefile.am up to date with the tree.

Library sources are every .c below common/, master/ and worker/ but the two main programs; unit tests and fuzzers are
found by name. Run it after adding or removing a file; `make lint` compares the same lists and names what is missing.
"""

import os
import re
import sys

MAINS = ('master/main.c', 'master/ctl_tool.c')
TIERS = ('common', 'worker/io', 'worker/http', 'worker/upstream', 'worker/store', 'worker/exchange', 'worker/filter',
         'worker/handler', 'worker/downstream', 'worker/admin', 'worker', 'master')


def tier(path):
    folder = os.path.dirname(path)
    return (TIERS.index(folder) if folder in TIERS else len(TIERS), path)


def library_sources(root):
    found = []
    for top in ('common', 'worker', 'master'):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), root)
                if name.endswith('.c') and path not in MAINS:
                    found.append(path)
    return sorted(found, key=tier)


def named(root, folder, pattern):
    try:
        names = sorted(os.listdir(os.path.join(root, folder)))
    except OSError:
        return []
    return [folder + '/' + n for n in names if re.fullmatch(pattern, n)]


def unit_tests(root):
    """A helper shared by unit tests has neither form of name and is listed by hand."""
    return [p[:-2] for p in named(root, 't/unit', r'(?:test_\w+|\w+_test)\.c')]


def fuzzers(root):
    return [p[:-2] for p in named(root, 't/fuzz', r'fuzz_\w+\.c')]


def lists(root):
    return {'libweir_a_SOURCES': library_sources(root), 'unit_tests': unit_tests(root), 'fuzzers': fuzzers(root)}


def listed(makefile, name):
    """The words of one variable of Makefile.am."""
    found = re.search(r'^%s =((?:[^\n]*\\\n)*[^\n]*)$' % re.escape(name), makefile, re.M)
    return found.group(1).replace('\\\n', ' ').split() if found else []


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
    path = os.path.join(root, 'Makefile.am')
    with open(path) as f:
        text = old = f.read()
    for name, words in lists(root).items():
        body = ''.join(' \\\n\t' + w for w in words)
        text = re.sub(r'^%s =(?:[^\n]*\\\n)*[^\n]*$' % re.escape(name), lambda _: name + ' =' + body, text, flags=re.M)
    if text == old:
        return 0
    with open(path, 'w') as f:
        f.write(text)
    print('Makefile.am was brought up to date')
    return 0


if __name__ == '__main__':
    sys.exit(main())
