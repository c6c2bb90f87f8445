/*
 * conf.h - a configuration, read, checked and resolved: what the rest of weir
 * sees of weir.ini.
 *
 * Owned by its arena; immutable once conf_load() returned; travels to workers
 * by fork. Inheritance (policies, defaults) is already worked out, except
 * between a route and the listener or upstream it meets, which only a request
 * knows: those keys are "layered" and read through conf_pick().
 * Times are milliseconds, sizes bytes; 0 means "no limit" where a limit is asked for.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/addr.h"
#include "common/arena.h"
#include "common/htab.h"
#include "common/log.h"
#include "common/span.h"
#include "common/tmpl.h"

#define CONF_MAGIC 0xc02fc02fu

/* A layered value that was not written here. */
#define CONF_UNSET INT64_MIN

/* Route (or its policy), then listener or upstream (or its policy), then the general default, which is always set:
 * [defaults route], [defaults listen/upstream], [weir] or the built-in. */
static inline int64_t conf_pick(int64_t route, int64_t other, int64_t general)
{
	return route != CONF_UNSET ? route : other != CONF_UNSET ? other : general;
}

struct conf_regex {
	struct span source;
	void *code;			/* pcre2_code, compiled without JIT; freed with the conf */
	void *match, *limits;		/* pcre2_match_data and _context, one per process after fork */
	struct conf_regex *next;	/* in conf->regexes */
};

/* Where something was written, for messages: file may be "built-in". */
struct conf_origin {
	const char *file;
	unsigned line;
};

/* ---- logs ---- */
enum conf_log_kind { CONF_LOG_FILE, CONF_LOG_STDOUT, CONF_LOG_STDERR, CONF_LOG_SYSLOG };
struct conf_log {			/* one per distinct target of the configuration */
	enum conf_log_kind kind;
	const char *path;		/* CONF_LOG_FILE, absolute */
	unsigned id;			/* index in conf->logs */
	int fd;				/* opened by the master before it forks; -1 until then */
};
enum conf_escape { CONF_ESC_LOG, CONF_ESC_JSON };
struct conf_access_log {
	const struct conf_log **to;	/* nto 0: off */
	unsigned nto;
	const struct tmpl *format;
	enum conf_escape escape;	/* JSON for the ready-made json format */
};

/* ---- layered timeouts, R keys of [upstream] ---- */
enum conf_time {
	CONF_T_CONNECT, CONF_T_RESPONSE, CONF_T_READ, CONF_T_WRITE, CONF_T_TUNNEL, CONF_T__N
};

/* ---- TLS ---- */
struct cert;				/* cert.h */
struct cert_ca;
enum conf_verify { CONF_VERIFY_OFF, CONF_VERIFY_OPTIONAL, CONF_VERIFY_REQUIRED };

/* ---- [listen] ---- */
#define CONF_LISTEN_MAGIC 0xc02f0001u
struct conf_bind {
	struct addr addr;		/* *:80 becomes [::]:80 with v6only off; v6 wildcard of "[::]:80" has v6only on */
	bool v6only;
	struct span text;		/* as written */
	struct conf_origin at;
	unsigned id;			/* running number over all binds of the conf: the listener slot group */
	bool single;			/* of [admin]: one socket, whatever the number of workers */
};
enum conf_proxy_protocol { CONF_PROXY_OFF, CONF_PROXY_OPTIONAL, CONF_PROXY_REQUIRED };
struct conf_listen {
	uint32_t magic;
	struct span name;
	unsigned id;
	struct conf_origin at;
	struct conf_bind *binds;
	unsigned nbinds;
	bool exclusive;
	bool http2;
	int redirect_https;		/* 0 no, else the port to name (443: none named) */
	struct net *trusted;
	unsigned ntrusted;
	struct span client_ip_header;
	enum conf_proxy_protocol proxy_protocol;
	int64_t header_timeout, body_timeout, idle_timeout, send_timeout;
	int64_t max_header_size, max_requests;
	int64_t max_body_size;		/* layered */
	const struct conf_access_log *access_log;	/* layered; NULL: unset */

	bool tls;
	const struct cert **certs;	/* as written: the first is for unknown names */
	unsigned ncerts;
	bool sni_strict;
	bool tls13_only;
	struct span hsts;		/* value of Strict-Transport-Security; empty: not sent */
	const char *ciphers, *suites;	/* up to TLS 1.2, of TLS 1.3; NULL: built-in */
	const struct cert_ca *client_ca;
	enum conf_verify client_verify;
};

/* ---- [upstream] ---- */
#define CONF_UPSTREAM_MAGIC 0xc02f0002u
#define CONF_SERVER_MAGIC 0xc02f0003u
#define CONF_HOST_ADDRS 32		/* addresses of one host name that become servers */

enum conf_balance {
	CONF_LEAST_CONN, CONF_ROUND_ROBIN, CONF_IP_HASH, CONF_HASH, CONF_RANDOM, CONF_EWMA
};
enum conf_check { CONF_CHECK_OFF, CONF_CHECK_TCP, CONF_CHECK_HTTP, CONF_CHECK_GRPC };

struct conf_server {
	uint32_t magic;
	struct span name;		/* name= or as written */
	struct span text;		/* ADDRESS[:PORT] as written */
	struct conf_origin at;
	struct addr addr;		/* ADDR_NONE: host name, see `host` */
	struct span host;		/* host name to resolve, empty when numeric or unix */
	uint16_t port;
	unsigned weight;		/* 1..; 0 takes no new requests */
	unsigned max_conns;		/* 0: no limit */
	bool backup, disabled;
	unsigned cell;			/* first of its cells in shared memory */
	unsigned ncells;		/* 1, or CONF_HOST_ADDRS for a host name */
	unsigned id;			/* running number over all servers of the configuration; contiguous within an upstream */
};

struct conf_range { uint16_t from, to; };

enum conf_protocol { CONF_HTTP1, CONF_HTTP2 };

struct conf_upstream {
	uint32_t magic;
	struct span name;
	unsigned id;
	struct conf_origin at;
	struct conf_server *servers;
	unsigned nservers;
	unsigned cell, ncells;		/* all cells of its servers are contiguous */
	enum conf_balance balance;
	const struct tmpl *hash_key;	/* CONF_HASH */

	enum conf_check check;
	struct span check_path, check_host;
	struct conf_range *check_status;
	unsigned ncheck_status;
	int64_t check_interval, check_timeout;
	unsigned check_rise, check_fall;
	uint16_t check_port;		/* 0: the server's own */

	unsigned max_fails;		/* 0: never ejects */
	int64_t fail_timeout;
	unsigned max_ejected;		/* percent */
	int64_t slow_start;		/* 0: off */
	unsigned keepalive;
	int64_t keepalive_timeout;
	unsigned max_queue;
	int64_t queue_timeout;
	enum conf_protocol protocol;
	unsigned send_proxy;		/* version of the PROXY header that opens connections; 0: none */
	int64_t resolve_min, resolve_max;	/* bounds on the TTL of host names */
	int64_t timeouts[CONF_T__N];	/* layered */

	bool tls, tls_verify;
	struct span tls_name;		/* empty: the server's own */
	const struct cert_ca *tls_ca;	/* set when certificates are verified */
	const struct cert *client_cert;	/* NULL: none */
};

/* ---- [route] ---- */
#define CONF_ROUTE_MAGIC 0xc02f0004u

enum conf_path_kind { CONF_PATH_NONE, CONF_PATH_EXACT, CONF_PATH_REGEX, CONF_PATH_PREFIX };

struct conf_host {
	struct span name;		/* lower case; for a wildcard the part behind "*." */
	bool wildcard;
};

/* One line of `header`, `cookie` or `query`. */
enum conf_match { CONF_M_PRESENT, CONF_M_ABSENT, CONF_M_EQUAL, CONF_M_REGEX };
struct conf_cond {
	enum conf_match how;
	struct span name, value;
	struct conf_regex *regex;
};

/* `client` and `method` words; with ! in front: must not hold. Any plain one may hold, no negated one may. */
struct conf_client {
	struct net net;
	bool not;
};
struct conf_method {
	struct span name;
	bool not;
};

enum conf_action { CONF_UPSTREAM, CONF_RESPOND, CONF_REDIRECT, CONF_ROOT };

struct conf_split {			/* one `upstream` line */
	const struct conf_upstream *upstream;
	unsigned weight;
};
struct conf_target {			/* an upstream that requests of a route may go to */
	const struct conf_upstream *upstream;
	unsigned series;		/* of its first server; the others follow */
};
struct conf_rewrite {
	struct conf_regex *regex;
	const struct tmpl *to;		/* a ? in it replaces the query */
	bool has_query;			/* the template's source holds a ? */
};
enum conf_edit_kind { CONF_EDIT_REMOVE, CONF_EDIT_SET, CONF_EDIT_ADD };
struct conf_edit {			/* in the order they are carried out: removes, sets, adds */
	enum conf_edit_kind kind;
	struct span name;
	const struct tmpl *value;	/* NULL for remove */
};
struct conf_error_page {
	uint16_t from, to;		/* 502..502, or 400..499 for 4xx */
	struct span text;
};

/* retry_on bits */
enum {
	CONF_RETRY_CONNECT = 1, CONF_RETRY_RESET = 2, CONF_RETRY_TIMEOUT = 4, CONF_RETRY_NON_IDEMPOTENT = 8
};

struct conf_route {
	uint32_t magic;
	struct span name;
	unsigned id;			/* order in the configuration */
	struct conf_origin at;
	bool enabled;
	int priority;

	/* conditions */
	const struct conf_listen **listens;	/* nlistens 0: every http listener that is not exclusive */
	unsigned nlistens;
	struct conf_host *hosts;
	unsigned nhosts;
	enum conf_path_kind path_kind;
	struct span *paths;		/* exact or prefix; normalised, no final slash on a prefix ("/" is "" ) */
	struct conf_regex **path_regexes;
	unsigned npaths;
	struct conf_method *methods;
	unsigned nmethods;
	struct conf_cond *headers, *cookies, *queries;
	unsigned nheaders, ncookies, nqueries;
	struct conf_client *clients;
	unsigned nclients;

	/* action */
	enum conf_action action;
	struct conf_split *split;
	unsigned nsplit;
	const struct tmpl *split_by;	/* NULL: at random */
	uint16_t status;		/* respond, redirect */
	const struct tmpl *text;	/* respond: NULL when no text; redirect: the URL */
	struct conf_target *targets;	/* of the splits and the fallback, each upstream once, while there are not too many */
	unsigned ntargets;
	unsigned series;		/* counts what no server answered; see meter.h */

	/* on the way */
	bool strip_matched;		/* strip_prefix = yes */
	struct span strip_prefix;	/* or this one */
	struct conf_rewrite *rewrites;
	unsigned nrewrites;
	struct span add_prefix;
	enum { CONF_HOST_PRESERVE, CONF_HOST_UPSTREAM, CONF_HOST_VALUE } host_header_kind;
	const struct tmpl *host_header;	/* CONF_HOST_VALUE */
	bool rewrite_location;		/* resolved: yes after a path change unless said otherwise */
	struct conf_edit *request_edits, *response_edits;
	unsigned nrequest_edits, nresponse_edits;
	struct net *allow, *deny;
	unsigned nallow, ndeny;
	bool has_allow;			/* an empty allow list lets nobody in */
	const struct conf_upstream *fallback;
	unsigned retries;
	unsigned retry_on;		/* bits above */
	uint64_t retry_status[10];	/* bit set over statuses 0..639: [s / 64] >> (s % 64) & 1 */
	int64_t timeout;		/* whole request, 0 off */
	struct conf_error_page *error_pages;
	unsigned nerror_pages;
	bool intercept_errors;
	int64_t max_body_size;		/* layered with the listener */
	int64_t timeouts[CONF_T__N];	/* layered with the upstream */
	const struct conf_access_log *access_log;	/* layered; NULL: unset */
};

/* ---- [tls] ---- */
#define CONF_TLS_MAGIC 0xc02f0005u
struct conf_tls {
	uint32_t magic;
	struct span name;
	struct conf_origin at;
	struct conf_host *hosts;	/* none: the names in its certificates */
	unsigned nhosts;
	const struct conf_listen **listens;	/* nlistens 0: every one with tls */
	unsigned nlistens;
	const struct cert **certs;	/* none: those of the listener */
	unsigned ncerts;
	bool has_verify;		/* its own rules for client certificates; else the listener's */
	const struct cert_ca *client_ca;
	enum conf_verify client_verify;
};

/* ---- [admin] ---- */
struct conf_admin {
	struct conf_bind *binds;	/* single; ids behind those of the listeners */
	unsigned nbinds;		/* 0: no pages, no process */
	struct net *allow;
	unsigned nallow;
	bool has_allow;			/* an empty list lets nobody in */
	struct span *hosts;		/* lower case */
	unsigned nhosts;
};

/* ---- the whole ---- */
struct conf {
	uint32_t magic;
	struct arena *arena;
	const char *file;		/* as given; absolute in `path` */
	const char *path;

	/* [weir] */
	unsigned workers;		/* resolved from auto */
	const char *user, *group;	/* NULL: not given */
	const char *pid_file;		/* NULL: none */
	const char *control;		/* socket path */
	const struct conf_log *error_log;
	enum log_level log_level;
	int64_t max_connections;	/* per worker; 0: from the descriptor limit */
	int64_t shutdown_timeout;
	int64_t tunnel_shutdown_timeout;	/* 0: no limit */
	int64_t orphan_timeout;		/* 0: no limit */
	bool ocsp_stapling;
	struct addr *resolvers;		/* none: the system's */
	unsigned nresolvers;

	/* general layer of the layered keys */
	struct {
		int64_t max_body_size;
		int64_t timeouts[CONF_T__N];
		const struct conf_access_log *access_log;
	} general;

	struct conf_admin admin;

	struct conf_log **logs;
	unsigned nlogs;
	struct conf_listen **listens;
	unsigned nlistens;
	unsigned nbinds;
	struct conf_route **routes;	/* enabled or not, in configuration order */
	unsigned nroutes;
	struct conf_upstream **upstreams;
	unsigned nupstreams;
	unsigned ncells;		/* server cells in shared memory */
	unsigned nstaples;		/* slots for answers of OCSP responders there */
	unsigned nservers;
	unsigned nseries;		/* pairs of route and server that are counted; 0 is neither */
	struct conf_tls **tls;
	unsigned ntls;
	struct cert *certs;		/* all of them, and all authorities; freed with the conf */
	struct cert_ca *cas;

	struct conf_regex *regexes;	/* all of them */
	const struct conf_access_log ***access_logs;	/* by route and listener, see conf_access_log() */
	const struct conf_text *text;	/* what was written, for conf_dump() */
};

/* The access log of a request that met this listener and this route (NULL: none): target and format are looked up each for
 * itself in route, listener and general layer, as weir.ini.5 says. Never NULL. */
const struct conf_access_log *conf_access_log(const struct conf *c, const struct conf_route *r,
					      const struct conf_listen *l);

/* One complaint of the reader or checker. */
struct conf_msg {
	bool warning;
	struct conf_origin at;		/* line 0: the file as a whole */
	const char *section;		/* "[listen http]"; may be NULL */
	const char *key;		/* may be NULL */
	const char *text;		/* "expected ..., got ...; did you mean ...?" */
};
struct conf_msgs {
	struct conf_msg *v;
	unsigned n, nerrors;
	unsigned cap;
};

/* Reads, checks and resolves; never exits. Returns NULL when there was any error; all errors and warnings are in *msgs either way
 * (in order of file and line, allocated in *arena). The arena must outlive the conf. Compiles regexes, reads ${env:}
 * and ${file:}; opens no sockets or logs. */
struct conf *conf_load(struct arena *arena, const char *file, struct conf_msgs *msgs);
/* Frees what the arena does not hold (regexes). */
void conf_free(struct conf *c);

/* Prints messages as FILE:LINE: error: [section] key: text. */
void conf_print_msgs(FILE *out, const struct conf_msgs *msgs);
/* -T: the whole configuration, defaults included, each value with its origin. */
void conf_dump(const struct conf *c, FILE *out);
/* What differs between two, as they count: see conf_diff.c. Strings are in the arena or in one of the two. */
enum conf_change_kind { CONF_ADDED, CONF_REMOVED, CONF_CHANGED, CONF_ORDER };
struct conf_change {
	enum conf_change_kind what;
	const char *section;		/* "[route api]" */
	const char *key;		/* NULL: the section as a whole */
	const char *from, *to;		/* values as written; NULL: none. ORDER: what it means, in `to` */
	const char *from_at, *to_at;	/* FILE:LINE; NULL: none */
	bool outside;			/* written alike, but what it stands for differs */
};
struct conf_diff {
	struct conf_change *v;
	unsigned n;
};
void conf_diff(struct arena *a, const struct conf *from, const struct conf *to, struct conf_diff *out);
/* `weir --options sample|man`-like output for building etc/weir.ini and the option part of weir.ini.5. */
void conf_print_sample(FILE *out);
void conf_print_man(FILE *out);

/* Warnings that need the machine, for -t and start: names that do not resolve, limits the process cannot get.
 * (Unreachable routes are found by conf_load.) */
void conf_check_machine(const struct conf *c, struct conf_msgs *msgs);

/* Nearest word for "did you mean"; NULL when none is near. */
const char *conf_nearest(struct span word, const char *const *words, unsigned n);

/* True when the regex matches; bounded steps; *groups (2 * 10 offsets, -1 unset) may be NULL. A limit hit is no match. */
bool conf_regex_match(const struct conf_regex *r, struct span s, int groups[20]);

#endif
