/*
 * h2_alloc.h - memory for the HTTP/2 library, counted and bounded for each connection.
 *
 * A peer that makes the library allocate without end makes it fail, and its connection with it.
 */
#ifndef WORKER_HTTP_H2_ALLOC_H
#define WORKER_HTTP_H2_ALLOC_H

#include <nghttp2/nghttp2.h>

struct h2_alloc {
	size_t used, max;
};

/* What nghttp2_session_*_new3() takes; m must outlive the session. */
nghttp2_mem h2_alloc_hooks(struct h2_alloc *m);

#endif
