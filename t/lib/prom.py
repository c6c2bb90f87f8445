"""Metrics in the text format of Prometheus, read strictly, and the pages of [admin] asked for as a program does."""

import re
import shutil
import subprocess

from client import fetch
from tap import Failed, equal

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def page(weir, target, port='port_admin', **more):
    return fetch(weir.ports[port], target=target, host='127.0.0.1', keep=64 << 20, **more)


class Metrics:
    """text of a scrape; m.get(name, label=value) is one sample, m.sum(name, ...) all that have these labels."""

    def __init__(self, text):
        self.text, self.types, self.samples = text, {}, {}
        if not text.endswith('\n'):
            raise Failed('the scrape has no end: %r' % text[-200:])
        for line in text.split('\n')[:-1]:
            self.line(line)

    def line(self, line):
        if line.startswith('# TYPE '):
            name, kind = line.split(' ')[2:]
            if name in self.types:
                raise Failed('%s has its type twice' % name)
            self.types[name] = kind
            return
        if line.startswith('# HELP '):
            return
        found = SAMPLE.fullmatch(line)
        if not found:
            raise Failed('not a sample: %r' % line)
        name, text, value = found.groups()
        labels, at = [], 0
        while text and at < len(text):
            label = LABEL.match(text, at)
            if not label:
                raise Failed('not a label: %r in %r' % (text[at:], line))
            labels.append(label.groups())
            at = label.end()
        key = (name, tuple(sorted(labels)))
        if key in self.samples:
            raise Failed('stands twice: %r' % line)
        self.samples[key] = float(value)

    def family(self, name):
        return re.sub(r'_(bucket|sum|count)$', '', name) if name not in self.types else name

    def names(self):
        return set(self.types)

    def find(self, name, **labels):
        want = set((k, str(v)) for k, v in labels.items())
        return {k[1]: v for k, v in self.samples.items() if k[0] == name and want <= set(k[1])}

    def get(self, name, **labels):
        found = self.find(name, **labels)
        if len(found) != 1:
            raise Failed('%d samples of %s with %r' % (len(found), name, labels))
        return next(iter(found.values()))

    def sum(self, name, **labels):
        return sum(self.find(name, **labels).values())

    def counters(self):
        return {k: v for k, v in self.samples.items() if self.types.get(self.family(k[0])) in ('counter', 'histogram')}


def scrape(weir, **more):
    answer = page(weir, '/metrics', **more)
    equal(answer.status, 200, 'status of /metrics')
    return Metrics(answer.text)


def have_promtool():
    return shutil.which('promtool') is not None


def promtool(*words, text=None):
    run = subprocess.run(['promtool', *words], input=text, capture_output=True, text=True, timeout=120)
    return run.returncode, run.stdout + run.stderr
