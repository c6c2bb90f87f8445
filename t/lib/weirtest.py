"""The library of the black-box tests.

A test file is t/NN-topic.t, executable, and reads as a story:

    #!/usr/bin/python3
    # Who takes part, and what each of them sees.
    import os, sys
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
    from weirtest import *

    with Story('an origin behind weir', deadline=60) as t:
        one = Origin('one')                                  # up at once, on a port of its own
        weir = Weir('''
            [listen http]
            bind = 127.0.0.1:{port}
            [route all]
            upstream = app
            [upstream app]
            server = {one}
        ''', one=one)                                        # running and ready

        with t.case('a GET reaches the origin and its answer the client'):
            answer = fetch(weir.port, 'GET', '/hello')
            equal(answer.status, 200, 'status')
            equal(one.last.target, '/hello', 'what the origin was asked')

Each `with t.case(text)` is one TAP line, ok unless its block raises; the next one runs all the same.  Expect by equal,
true, isin, contains, lacks, between; wait by until(what, probe) or the wait_* methods, never by a fixed sleep.  At the
end of the story every Weir is stopped in a case of its own that fails when a worker died unasked, a sanitizer or an
assertion spoke, or the exit status is not 0 (weir.expect_deaths = True, set by kill_worker(), allows deaths).  When
anything failed, every configuration, log and transcript is printed.  Then all children are ended and the directory of
the story (t.dir) is removed; KEEP=1 keeps it.  The `deadline` is for the whole file.

WEIR=PATH names the program, else ./weir at the top of the tree.  WEIRTEST_SLOW=N multiplies every wait (3 by itself for
a sanitizer build).

    Story, case, note, ok, skip, path        tap.py     also equal, true, isin, contains, lacks, between, until, show
    free_port                                ports.py   a port no other test file gets
    Weir, weir_run, Daemon                   weir.py    .port .ports .pid .workers() .kill_worker() .wait_respawn()
                                                        .errors() .wait_errors(re) .access() .wait_access({...})
    Origin, Reply, Hangup, Conn, Blackhole   origin.py  .requests .last .conns .connections .received() .up() .down()
    Gate                                     gate.py    Origin(handler=gate): .held .seen .most .release() .open()
    Client, fetch, exchange, request, curl   client.py  raw bytes out, strictly read in; spelled(name) where HTTP/2 differs
    Message, Truncated, Reset, Malformed,    wire.py    body_of(n), digest_of(n), chunked(pieces, trailers)
      TimedOut
    control, status, totals, servers, busy,  ctl.py     what the master says over weir.control_path; wait_idle(weir):
      wait_idle                                         until nothing is active or queued anywhere
    Load                                     load.py    Load(port, '/x', connections=8).start() .. .stop().counts
    Authority, Pair, openssl                 certs.py   certificates; Client(tls=ca.client(), name=..), Origin(tls=..)
    Nginx, Flask, Node, have_*               others.py  real servers as origins
    rss, cpu_seconds, fds, children, title   child.py   a process seen through /proc
"""

import tap
from child import Child, alive, birth, children, cpu_seconds, fds, listening, rss, spawn, status_kib, title
from certs import Authority, Pair, by_h2, openssl
from client import Client, Curl, Exchange, curl, exchange, fetch, only_h1, request, spelled
from ctl import busy, control, servers, status, totals, wait_idle
from gate import Gate
from load import Load
from origin import Blackhole, Conn, Hangup, Origin, Reply
from others import Flask, Nginx, Node, have_flask, have_nginx, have_node
from ports import free_port
from tap import (BailOut, Deadline, Failed, Story, between, contains, equal, isin, lacks, program, sanitized,
                 show, story, true, until)
from weir import Daemon, Run, Weir, weir_run
from wire import (Malformed, Message, Reset, TimedOut, Truncated, blocks, body_of, chunked, digest_of)
