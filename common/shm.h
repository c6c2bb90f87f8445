/*
 * shm.h - the shared memory that workers, checker and master agree through.
 *
 * Three segments, each a memfd made by the master before it forks:
 *   HEALTH  one cell per server, written by the checker (health, address) alone;
 *           mapped read-only by workers. Behind the cells, a slot for each
 *           certificate whose state clients are shown (OCSP stapling).
 *   ROWS    one page-aligned row per process slot (the workers', the checker's,
 *           the admin process's), written by that process alone; everybody else
 *           reads. The master zeroes a dead one's row after folding its counters
 *           into the base row. Behind them what the master itself tells.
 *   SHARED  words that several update by compare-and-swap: ejection marks,
 *           virtual times of the schedulers, retry budgets. Any value ever stored is valid.
 * No pointers, no locks, no growth. A process killed at any instruction leaves
 * nothing to repair but its row. The master never indexes with or loops on a
 * value that a worker wrote. Times are CLOCK_MONOTONIC ms.
 */
#ifndef COMMON_SHM_H
#define COMMON_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/meter.h"
#include "common/obj.h"
#include "common/reason.h"

struct conf;
struct conf_listen;
struct conf_route;
struct conf_server;
struct shm;
struct conf_upstream;

#define SHM_MAGIC 0x53e3a0d1u
#define SHM_NOTE 512
#define SHM_TAKEN 16
#define SHM_HISTORY 65536		/* of samples that admin processes hand on to each other */

enum stat_id {
#define STAT(id, name, prose) STAT_##id,
#define GAUGE(id, name, prose) STAT_##id,
#include "common/stat.def"
#undef STAT
#undef GAUGE
	STAT__N
};
const char *stat_name(enum stat_id s);
const char *stat_prose(enum stat_id s);
bool stat_is_gauge(enum stat_id s);

/* ---- HEALTH: one per server cell ---- */
enum health_state {
	HEALTH_UNUSED,			/* a spare cell of a host name */
	HEALTH_PENDING,			/* host name not looked up yet: requests wait, they are not refused */
	HEALTH_UP,
	HEALTH_DOWN
};
/* Why it is so; of a server that is up: what it came back from (NONE: it was up from the start). */
enum health_why {
	HEALTH_WHY_NONE, HEALTH_WHY_CHECK, HEALTH_WHY_UNRESOLVED, HEALTH_WHY_GONE
};
#define SHM_ERROR_STATUS 0x10000u
struct shm_health {
	_Atomic uint64_t word;		/* state:8 | why:8 | since_ms:48; one store publishes all */
	_Atomic uint32_t seq;		/* odd while the address is being changed */
	_Atomic uint32_t addr_words[6];	/* struct addr of a resolved name, packed; read under seq */
	_Atomic uint32_t addr_gen;	/* counts changes of the address */
	_Atomic uint32_t checks, fails;	/* done in all, failed in all */
	_Atomic uint32_t last_ms;	/* duration of the last check */
	char pad[64 - 8 - 4 - 24 - 4 - 8 - 4 - 8];
	_Atomic uint32_t last_error;	/* of the last failed check: errno, or SHM_ERROR_STATUS and the HTTP status; 0: neither */
	_Atomic uint32_t judge;		/* checks in a row that speak against the state: good:16 | bad:16; the checker's own */
};
_Static_assert(sizeof(struct shm_health) == 64, "one cache line a cell");

static inline enum health_state health_state_of(uint64_t word)
{
	return (enum health_state)(word & 0xff);
}
static inline enum health_why health_why_of(uint64_t word)
{
	return (enum health_why)(word >> 8 & 0xff);
}
static inline uint64_t health_since_of(uint64_t word)
{
	return word >> 16;
}
static inline uint64_t health_word(enum health_state s, enum health_why why, uint64_t since_ms)
{
	return (uint64_t)s | (uint64_t)why << 8 | since_ms << 16;
}

/* ---- ROWS ---- */
enum slot_state { SLOT_FREE, SLOT_STARTING, SLOT_LIVE, SLOT_DEAD };

/* Per server cell, in a row. Single writer: the row's worker. */
struct shm_use {
	_Atomic uint32_t active;	/* exchanges on the server now: least_conn and max_conns count these */
	_Atomic uint32_t last_fail;	/* how and when a try failed last: see shm_last_fail_word() */
	_Atomic uint64_t requests;	/* tries begun */
	_Atomic uint64_t fails;		/* tries that failed by the server's fault */
};

/* reason:8 | second of the monotonic clock:24. */
static inline uint32_t shm_last_fail_word(enum reason why, uint64_t now_s)
{
	return (uint32_t)why | (uint32_t)(now_s & 0xffffff) << 8;
}

struct shm_row {
	/* written by the master */
	_Atomic uint32_t state;		/* enum slot_state */
	_Atomic uint32_t gen;		/* raised at each reuse */
	_Atomic int32_t pid;
	uint32_t pad0;
	_Atomic uint64_t fold;		/* base row only: see shm_reap_row() */
	_Atomic uint64_t epoch;		/* base row only: raised whenever a base row was published */
	_Atomic uint32_t taken[SHM_TAKEN];	/* base rows only: numbers of the generations whose counters are in it */
	char pad1[24];
	/* written by the worker */
	_Atomic uint64_t beat_ms;	/* monotonic, stored each turn of the loop */
	_Atomic uint64_t turns;
	_Atomic uint64_t stats[STAT__N];
	_Atomic uint64_t reasons[REASON__N];
	char note[SHM_NOTE];		/* crash note, NUL-terminated by the master before use */
	/* then: struct shm_use[ncells], uint32 queued[nupstreams], uint32 open[nlistens]: see shm_use(), shm_queued(),
	 * shm_open_conns(); then counters: see meter.h */
};

/* What the master tells, in the memory of each generation. The master is the only writer. */
struct shm_master {
	_Atomic uint32_t state;		/* enum master_state as a number: 1 is running, more is an end */
	_Atomic uint32_t generation;	/* the one in force */
	_Atomic uint32_t generations;	/* that still have processes */
	_Atomic int32_t pid;
	_Atomic uint64_t begun_ms;	/* wall clock */
	_Atomic uint64_t reloads, reloads_failed;
	_Atomic uint64_t reloaded_ms, reload_failed_ms;	/* wall clock, of the last ones; 0: never */
	_Atomic uint64_t upgrades, upgrades_failed;
	_Atomic uint64_t worker_restarts, other_restarts;	/* deaths that nobody asked for */
	_Atomic uint64_t lost_conns, lost_requests;	/* of old generations that were ended */
};

/* ---- also HEALTH: an answer of an OCSP responder for each certificate that has one ---- */
#define STAPLE_MAX 8172			/* bytes of an answer; usual ones have 500 to 3000 */
struct shm_answer {
	int64_t expires, refresh;	/* UNIX seconds: when it counts no more, when the next one is to be fetched */
	uint32_t len;
	uint8_t bytes[STAPLE_MAX];
};
struct shm_staple {
	_Atomic uint64_t word;		/* version:63 | which half counts:1; 0: none yet. Stored when the half is whole */
	char pad[56];
	struct shm_answer half[2];
};

/* ---- SHARED: several writers, compare-and-swap ---- */
struct shm_server {
	_Atomic uint64_t eject;		/* see shm_eject.h */
	_Atomic uint64_t vtime;		/* virtual time of weighted round robin */
	_Atomic uint64_t ewma;		/* moving response time, packed with its stamp */
	_Atomic uint64_t admin;		/* what the operator asked for while weir runs; written by the master alone; see shm_admin() */
};
struct shm_upstream {
	_Atomic uint64_t vtime;		/* virtual time of the last pick: where a returning server joins */
	_Atomic uint64_t budget;	/* retry budget, packed */
	_Atomic uint64_t admin_gen;	/* raised when the admin word of one of its servers changed */
	_Atomic uint64_t spare[5];
};

/* held:2 | has_weight:1 | unused | weight:16 at 16 | since_s:32 at 32. 0: as configured. */
enum shm_held { HELD_NO, HELD_DRAIN, HELD_DOWN };
struct shm_admin {
	enum shm_held held;
	bool has_weight;
	unsigned weight;
	uint32_t since_s;		/* that it is held or not; monotonic seconds, 0: not known */
};
static inline uint64_t shm_admin_word(struct shm_admin a)
{
	return (uint64_t)a.held | (uint64_t)a.has_weight << 2 | (uint64_t)(a.weight & 0xffff) << 16 |
	       (uint64_t)a.since_s << 32;
}
static inline struct shm_admin shm_admin(uint64_t word)
{
	return (struct shm_admin){ .held = (word & 3) <= HELD_DOWN ? (enum shm_held)(word & 3) : HELD_NO,
				   .has_weight = (word >> 2 & 1) != 0, .weight = (unsigned)(word >> 16 & 0xffff),
				   .since_s = (uint32_t)(word >> 32) };
}

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(long long) == sizeof(uint64_t),
	       "words shared between processes must not hide a lock");

#define SHM_PAST 3
/* What a process holds of it; not itself in shared memory. */
struct shm {
	uint32_t magic;
	unsigned nslots;		/* rows of processes: the workers', the checker's, the admin process's if there is one */
	unsigned nworkers;
	unsigned ncells, nupstreams, nservers, nroutes, nseries, nlistens, nstaples;
	unsigned slot;			/* of this process; nslots for the master */
	size_t row_size, rows_size, health_size, shared_size;
	size_t meters_at, servers_at, series_at, listens_at, meters_end;	/* in a row; see meter.h */
	int health_fd[2], rows_fd[2], shared_fd;	/* [0] read-write, [1] read-only; -1 when closed */
	struct shm_health *health;
	struct shm_staple *staples;
	char *rows;			/* row 0 first; then two copies of the base row of folded counters; then struct shm_master */
	struct shm_server *servers;
	struct shm_upstream *upstreams;
	/* Workers: rows of older generations that have processes still, and which of their cells are ours; see shm_past.c. */
	struct shm_past *past[SHM_PAST];
	unsigned npast;
};

struct shm_size {
	unsigned nslots, nworkers, ncells, nupstreams, nservers, nroutes, nseries, nlistens, nstaples;
};
struct shm_size shm_size_of(const struct conf *c, unsigned nslots);
/* Makes and maps all segments, zeroed. False with errno. Called by the master, once it is in the background: its mappings are
 * not inherited, a child has none until it became something. nslots: one for each process. */
bool shm_init(struct shm *s, const struct shm_size *size);
/* The first state of every server cell: up, or waiting to be looked up. Called by the master before it forks. */
void shm_init_health(struct shm *s, const struct conf *c);
/* In a fresh child: maps so that only what the role may write is writable (worker: own row and SHARED; checker: own row,
 * HEALTH and SHARED; admin: own row), closes the descriptors. False with errno: the child must exit. */
bool shm_become_worker(struct shm *s, unsigned slot);
bool shm_become_checker(struct shm *s, unsigned slot);
bool shm_become_admin(struct shm *s, unsigned slot);
/* The admin process, of an older generation: everything to read. */
bool shm_become_reader(struct shm *s);
void shm_fini(struct shm *s);
/* Of another master's memory: maps it as it is, to read HEALTH and ROWS and to write SHARED. The form is set and the
 * descriptors health_fd[1], rows_fd[1] and shared_fd are there; they are shm_fini()'s to close. False with errno where size or
 * kind do not fit. */
bool shm_adopt(struct shm *s);
/* The numbers that sizes and places in it follow from, for another program; SHM_FORM of them, any order but always the same. */
#define SHM_FORM 9
void shm_form(const struct shm *s, unsigned out[SHM_FORM]);
void shm_set_form(struct shm *s, const unsigned form[SHM_FORM]);
/* A number for all that the form of the memory depends on: the same in two programs that can read each other's. */
uint64_t shm_layout(void);

/* slot nslots: the base row. */
struct shm_row *shm_row(const struct shm *s, unsigned slot);
static inline struct shm_row *shm_own(const struct shm *s)
{
	return shm_row(s, s->slot);
}
struct shm_use *shm_use(const struct shm *s, unsigned slot);		/* array of ncells */
_Atomic uint32_t *shm_queued(const struct shm *s, unsigned slot);	/* array of nupstreams */
_Atomic uint32_t *shm_open_conns(const struct shm *s, unsigned slot);	/* array of nlistens */
struct shm_master *shm_master(const struct shm *s);

/* Master: folds the row's counters into the base row, zeroes what the worker wrote but its note, raises gen, frees the row. The
 * process must be reaped. May be called again at any time, also by a master that took over from one that died within. */
void shm_reap_row(struct shm *s, unsigned slot);

/* Where the counters of meter.h lie: the same in each row. Worked out once, from the numbers above (meter.c). */
void shm_set_meters(struct shm *s);
static inline size_t meter_route_at(const struct shm *s, unsigned route)	/* nroutes: requests without a route */
{
	must(route <= s->nroutes);
	return s->meters_at + route * sizeof(struct meter_hist);
}
static inline size_t meter_server_at(const struct shm *s, unsigned server)
{
	must(server < s->nservers);
	return s->servers_at + server * sizeof(struct meter_server);
}
static inline size_t meter_series_at(const struct shm *s, unsigned series)
{
	must(series < s->nseries);
	return s->series_at + series * sizeof(struct meter_series);
}
static inline size_t meter_listen_at(const struct shm *s, unsigned listen)
{
	must(listen < s->nlistens);
	return s->listens_at + listen * sizeof(uint64_t);
}

/* Sums over all rows, base row included for counters. */
uint64_t shm_stat(const struct shm *s, enum stat_id id);
uint64_t shm_reason(const struct shm *s, enum reason r);
uint32_t shm_active(const struct shm *s, unsigned cell);		/* exact: rows of live workers */
uint64_t shm_requests(const struct shm *s, unsigned cell);
uint64_t shm_fails(const struct shm *s, unsigned cell);
/* Why and when (second of the monotonic clock) a try failed last by the server's fault; REASON_NONE: not since its workers began. */
enum reason shm_last_fail(const struct shm *s, unsigned cell, uint64_t *when_s);
/* Rows that have a process. */
unsigned shm_live_rows(const struct shm *s, bool workers_only);
uint32_t shm_queue_len(const struct shm *s, unsigned upstream);
uint32_t shm_open_len(const struct shm *s, unsigned listen);
/* Of the counter that lies there in every row; see meter.h and shm_stat_at(). */
uint64_t shm_sum(const struct shm *s, size_t at);
size_t shm_stat_at(enum stat_id id);
size_t shm_reason_at(enum reason r);
size_t shm_requests_at(const struct shm *s, unsigned cell);
size_t shm_fails_at(const struct shm *s, unsigned cell);
/* Changes whenever what sums are made of was moved from one row, or one generation, to another. */
struct shm_version {
	uint64_t epoch, fold;
};
struct shm_version shm_version(const struct shm *s);
static inline bool shm_same_version(struct shm_version a, struct shm_version b)
{
	return a.epoch == b.epoch && a.fold == b.fold;
}
/* Are the counters of that generation in this base row? */
bool shm_has_taken(const struct shm *s, unsigned generation);

/* Single-writer updates of the own row: relaxed load and store, no locked instruction. */
static inline void shm_count(struct shm *s, enum stat_id id, uint64_t n)
{
	_Atomic uint64_t *c = &shm_own(s)->stats[id];
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void shm_gauge(struct shm *s, enum stat_id id, int64_t by)
{
	shm_count(s, id, (uint64_t)by);
}
static inline void shm_count_reason(struct shm *s, enum reason r)
{
	_Atomic uint64_t *c = &shm_own(s)->reasons[r];
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Any process, on a cell it may write: one store. */
static inline void shm_set_health(struct shm_health *h, enum health_state st, enum health_why why, uint64_t now_ms)
{
	atomic_store_explicit(&h->word, health_word(st, why, now_ms), memory_order_release);
}
static inline uint64_t shm_health_word(const struct shm *s, unsigned cell)
{
	return atomic_load_explicit(&s->health[cell].word, memory_order_acquire);
}

/* Checker: publishes / reader: copies out the address of a resolved name; false when it never had one. */
void shm_put_addr(struct shm_health *h, const struct addr *a);
bool shm_get_addr(const struct shm_health *h, struct addr *out);

/* ---- staples (shm_staple.c) ---- */
/* Checker, and master before it forks: replaces the answer; len 0: there is none to be shown. */
void shm_put_staple(struct shm *s, unsigned i, const struct shm_answer *a);
/* Copies the answer out. False: there is none, or it is being changed faster than it can be read. */
bool shm_get_staple(const struct shm *s, unsigned i, struct shm_answer *out);
/* Master: those of certificates that both have. */
void shm_carry_staples(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc);

/* ---- older generations beside us (shm_past.c; a worker) ---- */
/* Before privileges go: from here on shm_active() counts what is under way there on the same servers, too. Without memory for it,
 * or past SHM_PAST of them, it does not. */
void shm_add_past(struct shm *s, const struct conf *c, const struct shm *old, const struct conf *oc);
uint32_t shm_past_active(const struct shm *s, unsigned cell);
/* Lets go of those that have no worker any more that gives a sign of life; how many are left. */
unsigned shm_past_left(struct shm *s, uint64_t now_ms);

/* ---- from one configuration to the next (shm_carry.c; the master) ---- */
/* First cell of the same server, by names of upstream and server and the address as written; id of the same upstream. -1: none. */
int shm_find_cell(const struct conf *in, const struct conf_upstream *u, const struct conf_server *s);
int shm_find_upstream(const struct conf *in, const struct conf_upstream *u);
int shm_find_listen(const struct conf *in, const struct conf_listen *l);
const struct conf_route *shm_find_route(const struct conf *in, const struct conf_route *r);
/* The number of what route r counts for that server; -1: none. */
int shm_find_series(const struct conf_route *r, const struct conf_upstream *u, const struct conf_server *s);
/* Health, ejection marks, virtual times, latencies and retry budgets; before the first child of `to` is forked. */
void shm_carry(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc);
/* Adds the counters of `from`, generation `number`, whose rows are all reaped, to the base row of `to`. Once; published by one
 * store, so that who adds up generations counts them once. */
void shm_carry_counts(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc,
		      unsigned number);

/* Walks everything read-only and reports the first inconsistency (gauges of dead rows, states out of range); NULL when sound. */
const char *shm_verify(const struct shm *s);

#endif
