#!/usr/bin/env python3
"""Checks of the source text that no compiler makes.

Each rule is one function that yields (path, line, sentence). Output is one line per finding and a count; with --tap one
test point per rule, for the count of the whole suite. Two comments, on the line above a function, lift a limit and must
say why: `/* long: reason */` for its length, `/* global: reason */` for a file-scope variable that changes.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources  # noqa: E402

FILE_LINES = 600
TEST_LINES = 800         # a test may tell a longer story
FUNCTION_LINES = 60
COLUMNS = 120        # of code; a comment may go on to WITH_COMMENT
WITH_COMMENT = 140
TAB = 4

# Own folder or a lower tier, nothing else. Folders of one tier do not see each other.
TIER = {'common': 0, 'worker/io': 1, 'worker/http': 2, 'worker/upstream': 3, 'worker/store': 3, 'worker/exchange': 4,
        'worker/filter': 5, 'worker/handler': 5, 'worker/downstream': 5, 'worker/admin': 5, 'worker': 6}
# All that master/ may know of worker/: the entry points of its children.
MASTER_SEES = ('worker/worker.h',)

# Words that may stand only in the named files. Comments and strings do not count.
OWNERS = {
    'epoll_ctl': ('worker/io/loop.c',),
    'fork': ('master/child.c',), 'vfork': (), 'clone': (), 'clone3': (), 'daemon': (), 'posix_spawn': (),
    'strcpy': (), 'strcat': (), 'sprintf': (), 'vsprintf': (), 'gets': (), 'system': (), 'popen': (),
    'strtok': (), 'mktemp': (), 'tmpnam': (), 'alloca': (), 'execvp': (), 'execlp': (),
}
# State that is not handed down: the log, the panic note (read by signal handlers), and nothing else without a reason.
GLOBALS = ('common/log.c', 'common/panic.c')

PROSE = (
    (r'\b(?:FIXME|XXX|HACK)\b|\bTODO:', 'unfinished work'),
    (r'/(?:work|root|home)/\w', 'a path of one machine'),
    (r'(?i)\bissue #?\d', 'a ticket number: say what it was about'),
    (r'(?i)\bas (?:requested|instructed)\b', 'talk about the work instead of the thing'),
)
TEXT = ('.c', '.h', '.def', '.py', '.t', '.md', '.ini', '.am', '.ac', '.sh', '.yml', '.yaml', '.js', '.json', '.1', '.5', '.7', '.8')
NAMES = ('bootstrap', 'NEWS', 'LICENSE', 'run', 'Dockerfile', '.gitignore')
SKIP = {'.git', 'build-aux', 'autom4te.cache', 'fuzz-build', 'corpus', 'node_modules', '__pycache__', '.deps'}


class Tree:
    """The text files of the tree, each read once."""

    def __init__(self, root):
        self.root = root
        self.files = {}
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in SKIP and not re.match(r'weir-\d', f))
            for name in sorted(names):
                if name.endswith(TEXT) or name in NAMES:
                    path = os.path.relpath(os.path.join(folder, name), root)
                    with open(os.path.join(root, path), 'rb') as f:
                        self.files[path] = f.read()
        self.codes = {p: strip(self.text(p)) for p in self.files if p.endswith(('.c', '.h'))}

    def text(self, path):
        return self.files[path].decode('utf-8', 'replace')

    def lines(self, path):
        return self.text(path).split('\n')

    def ours(self, ends=('.c', '.h')):
        """Sources of the programs."""
        return [p for p in self.files if p.endswith(ends) and p.split('/')[0] in ('common', 'master', 'worker')]

    def c_files(self):
        return list(self.codes)


def strip(text):
    """The code with comments, strings and characters blanked, line by line as before."""
    def blank(found):
        word = found.group(0)
        return re.sub(r'[^\n]', ' ', word) if word[0] == '/' else word[0] + ' ' * (len(word) - 2) + word[-1]
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.S)


def line_of(text, offset):
    return text.count('\n', 0, offset) + 1


def include_tiers(tree):
    for path in tree.ours(('.c', '.h', '.def')):
        folder = os.path.dirname(path)
        for number, line in enumerate(tree.lines(path), 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            name = found.group(1)
            target = os.path.dirname(name)
            if name not in tree.files:
                yield path, number, '"%s" is no path from the root of the tree' % name
            elif folder == target or target == 'common' or name in MASTER_SEES and folder == 'master':
                continue
            elif TIER.get(target, 99) >= TIER.get(folder, -1):
                yield path, number, 'includes upwards: %s' % name


def functions(tree, path):
    """(first line of the body, last line, lines above the signature joined) of each function."""
    lines = tree.codes[path].split('\n')
    raw = tree.lines(path)
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith('{'):
            start = number
        elif line.startswith('}') and start:
            head = start - 1
            while head > 1 and lines[head - 2].strip() and not lines[head - 2].startswith(('}', '#')) \
                    and not lines[head - 2].rstrip().endswith(';'):
                head -= 1
            yield start, number, '\n'.join(raw[max(0, head - 5):start])
            start = None


def sizes(tree):
    for path in tree.c_files():
        count = len(tree.lines(path)) - 1
        most = TEST_LINES if path.startswith('t/') else FILE_LINES
        if count > most:
            yield path, count, 'has %d lines, over %d: split it by concept' % (count, most)
        for start, end, above in functions(tree, path):
            if end - start + 1 > FUNCTION_LINES and not re.search(r'/\* long: \w', above):
                yield path, start, 'this function has %d lines, over %d' % (end - start + 1, FUNCTION_LINES)


def headers(tree):
    for path in tree.c_files() + tree.ours(('.def',)):
        lines = tree.lines(path)
        if not lines[0].startswith('/*'):
            yield path, 1, 'does not open with a comment on what it owns'
            continue
        end = next((n for n, line in enumerate(lines) if '*/' in line), 0) + 1
        if path.split('/')[0] == 't':
            continue
        if end < 3 - path.endswith('.def') * 2 or end > 24:
            yield path, 1, 'its opening comment has %d lines; 5 to 10 are asked for' % end
        if not path.endswith('.def') and os.path.basename(path) not in '\n'.join(lines[:2]):
            yield path, 1, 'its opening comment does not name the file'


def magics(tree):
    seen = {}
    for path in tree.ours():
        for found in re.finditer(r'^#\s*define\s+(\w+_MAGIC)\s+(0x[0-9a-fA-F]+)', tree.text(path), re.M):
            where = (path, line_of(tree.text(path), found.start()))
            value = int(found.group(2), 16)
            if value in seen:
                yield where + ('%s has the number of %s in %s' % (found.group(1), seen[value][0], seen[value][1]),)
            elif value < 0x1000:
                yield where + ('%s is too small to be told from other data' % found.group(1),)
            seen[value] = (found.group(1), path)


def gotos(tree):
    for path in tree.ours(('.c',)):
        for number, line in enumerate(tree.codes[path].split('\n'), 1):
            found = re.search(r'\bgoto\s+(\w+)', line)
            if found and found.group(1) != 'fail':
                yield path, number, 'goto %s: only "fail", in setup code' % found.group(1)


def owners(tree):
    for path in tree.ours(('.c', '.h')):
        for found in re.finditer(r'(?<![\w.>])(\w+)\s*\(', tree.codes[path]):
            name = found.group(1)
            if name in OWNERS and path not in OWNERS[name]:
                who = OWNERS[name][0] if OWNERS[name] else 'nobody'
                yield path, line_of(tree.codes[path], found.start()), 'calls %s(), which is for %s' % (name, who)


def style(tree):
    for path in tree.c_files():
        code = tree.codes[path].split('\n')
        for number, line in enumerate(tree.lines(path), 1):
            wide = len(line.expandtabs(TAB))
            if wide > WITH_COMMENT or len(code[number - 1].rstrip().expandtabs(TAB)) > COLUMNS:
                yield path, number, 'is %d columns wide, over %d' % (wide, COLUMNS)
            if re.match(r' {8,}\S', line) and code[number - 1].strip():
                yield path, number, 'is indented with spaces'
        for found in re.finditer(r'\btypedef\s+(?:struct|union|enum)\b', tree.codes[path]):
            yield path, line_of(tree.codes[path], found.start()), 'gives a struct or enum a typedef'


def text_files(tree):
    for path in tree.files:
        try:
            text = tree.files[path].decode('utf-8')
        except UnicodeDecodeError as bad:
            yield path, line_of(tree.text(path), bad.start), 'is not UTF-8'
            continue
        if not text:
            yield path, 1, 'is empty'
        elif not text.endswith('\n'):
            yield path, text.count('\n') + 1, 'has no newline at its end'
        for number, line in enumerate(text.split('\n'), 1):
            if line != line.rstrip() and not path.endswith('.md'):
                yield path, number, 'ends in blanks'


def prose(tree):
    for path in tree.files:
        if path == 't/lint/lint.py':
            continue
        for number, line in enumerate(tree.lines(path), 1):
            for pattern, what in PROSE:
                if re.search(pattern, line):
                    yield path, number, what + ': ' + line.strip()[:60]


def file_scope_state(tree):
    """Column-0 definitions of variables that are not const; designed for kernel-style code, where it is exact."""
    pattern = re.compile(r'^(?!typedef|extern|struct \w+ *\{|enum|union|return|#|_Static_assert|static_assert)'
                         r'((?:static |_Thread_local |_Atomic |volatile |struct |unsigned |const )*\w[\w ]*[ *])(\w+)'
                         r'(\[[^\]]*\])*\s*(=|;)')
    for path in tree.ours(('.c',)):
        if path in GLOBALS:
            continue
        raw = tree.lines(path)
        for number, line in enumerate(tree.codes[path].split('\n'), 1):
            found = pattern.match(line)
            if found and 'const' not in found.group(1).split() and '(' not in line.split('=')[0] \
                    and not re.search(r'/\* global: \w', raw[number - 2]):
                yield path, number, '%s is state outside struct worker' % found.group(2)


def listed_sources(tree):
    makefile = tree.text('Makefile.am')
    for name, words in sources.lists(tree.root).items():
        have = sources.listed(makefile, name)
        for word in sorted(set(words) - set(have)):
            yield 'Makefile.am', 1, '%s lacks %s: run t/lint/sources.py' % (name, word)
        for word in sorted(set(w for w in have if not w.startswith('$')) - set(words)):
            if not os.path.exists(os.path.join(tree.root, word if word.endswith('.c') else word + '.c')):
                yield 'Makefile.am', 1, '%s names %s, which does not exist' % (name, word)


def pythons(tree):
    for path in tree.files:
        if path.endswith(('.py', '.t')) or tree.files[path].startswith((b'#!/usr/bin/python3', b'#!/usr/bin/env python3')):
            try:
                ast.parse(tree.text(path), path)
            except SyntaxError as bad:
                yield path, bad.lineno or 1, 'is not Python: %s' % bad.msg


def tool(argv):
    """Findings of a tool that prints file:line:... lines."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    return done.returncode, [line for line in done.stdout.splitlines() if line.strip()]


def shells(tree):
    scripts = [p for p in tree.files if re.match(rb'#!\s*/(?:usr/)?bin/(?:env )?(?:ba)?sh\b', tree.files[p])]
    if not scripts or not shutil.which('shellcheck'):
        return
    status, lines = tool(['shellcheck', '-f', 'gcc'] + [os.path.join(tree.root, p) for p in scripts])
    for line in lines:
        path, number, rest = (line.split(':', 2) + ['', ''])[:3]
        yield os.path.relpath(path, tree.root), number, rest.strip()
    if status and not lines:
        yield scripts[0], 1, 'shellcheck ended with status %d' % status


def manuals(tree):
    pages = [p for p in tree.files if re.fullmatch(r'man/.*\.[1-8]', p)]
    if not pages or not shutil.which('mandoc'):
        return
    status, lines = tool(['mandoc', '-Tlint', '-W', 'warning'] + [os.path.join(tree.root, p) for p in pages])
    for line in lines:
        yield 'man', 0, line.replace(tree.root + '/', '')
    if status and not lines:
        yield pages[0], 1, 'mandoc ended with status %d' % status


def reasons_told(tree):
    """Who meets a close reason in a log finds it in the operator's chapter, and no other."""
    page = 'man/weir-operations.7'
    if page not in tree.files or 'common/reason.def' not in tree.files:
        return
    found = re.findall(r'^REASON\(\w+,\s*(\d+),\s*"(\w+)"', tree.text('common/reason.def'), re.M)
    made = {word: status for status, word in found}
    text = tree.text(page)
    start = text.find('.Sh CLOSE REASONS')
    told = dict(re.findall(r'^\.It Cm (\w+) Pq (\w+)$', text[start:], re.M))
    for word in sorted(set(made) | set(told)):
        want = 'none' if made.get(word) == '0' else made.get(word)
        if told.get(word) != want:
            yield page, 1, 'CLOSE REASONS: %s has status %s, common/reason.def says %s' % (word, told.get(word), want)


RULES = (
    ('includes go down the tiers only', include_tiers),
    ('files and functions are short', sizes),
    ('every source opens with what it owns', headers),
    ('magic numbers are unique', magics),
    ('no goto but to fail', gotos),
    ('calls are left to their owners', owners),
    ('layout of C', style),
    ('text files are clean', text_files),
    ('the text speaks of the thing itself', prose),
    ('no state outside struct worker', file_scope_state),
    ('Makefile.am lists every source', listed_sources),
    ('Python parses', pythons),
    ('shellcheck', shells),
    ('mandoc -T lint', manuals),
    ('every close reason is told of', reasons_told),
)


def main():
    ap = argparse.ArgumentParser(description='Checks the source text.')
    ap.add_argument('--root', default=os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
    ap.add_argument('--tap', action='store_true', help='one test point per rule')
    ap.add_argument('--only', default='', help='one rule, by the name of its function')
    args = ap.parse_args()
    tree = Tree(os.path.abspath(args.root))
    rules = [r for r in RULES if args.only in ('', r[1].__name__)]
    if args.tap:
        print('1..%d' % len(rules))
    total = 0
    for number, (name, rule) in enumerate(rules, 1):
        found = sorted(set(rule(tree)), key=lambda f: (f[0], int(f[1] or 0)))
        for path, line, sentence in found:
            print('%s%s:%s: %s' % ('# ' if args.tap else '', path, line, sentence))
        total += len(found)
        if args.tap:
            print('%s %d - %s' % ('not ok' if found else 'ok', number, name), flush=True)
    if not args.tap:
        print('lint: %d rules, %d findings' % (len(rules), total))
    return 1 if total else 0


if __name__ == '__main__':
    sys.exit(main())
