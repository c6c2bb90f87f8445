/*
 * checker.h - what the parts of the checker process share.
 *
 * One struct checker per process, made by checker.c. A target is one server
 * cell that needs watching (target.c), a name one host name of the
 * configuration (names.c); neither ever goes away while the process lives.
 */
#ifndef WORKER_CHECKER_H
#define WORKER_CHECKER_H

#include "common/process.h"
#include "worker/probe.h"
#include "worker/resolve.h"

#define CHECKER_MAGIC 0xc4ec4e40u
#define TARGET_MAGIC  0x7a49e700u
#define NAME_MAGIC    0x4a3e0001u

struct expiry {
	struct checker *checker;
	struct timer timer;		/* the next look */
};

struct checker {
	uint32_t magic;
	struct process *process;
	struct shm *shm;
	const struct conf *conf;
	struct loop loop;
	struct resolver resolver;
	uint64_t seed;
	struct target *targets;		/* by cell; those of unwatched servers are never started */
	struct name *names;
	unsigned nnames;
	bool news;			/* workers shall be woken at the end of this turn */
	uint64_t trouble_ms;		/* when a lack of our own was last complained of */
	struct expiry expiry;
	struct watch control, wake;
	struct timer orphan;
	struct buf_pool bufs;		/* of TLS alone */
	struct tls_pool tls;
	struct tls_client **tls_clients;	/* by conf_upstream->id; NULL: in clear */
	uint64_t turns;
};

/* 0 .. n - 1. */
uint64_t checker_random(struct checker *c, uint64_t n);
/* Publishes the state of a cell; workers are woken. */
void checker_publish(struct checker *c, unsigned cell, enum health_state st, enum health_why why);

/* ---- target.c ---- */

/* Rise and fall; pure. */
struct judge {
	bool up;
	unsigned good, bad;		/* in a row */
};
enum verdict { VERDICT_SAME, VERDICT_UP, VERDICT_DOWN };
enum verdict judge_take(struct judge *j, bool good, unsigned rise, unsigned fall);
/* Milliseconds from the beginning of one check to that of the next; draw: 0 .. 999. */
uint64_t judge_interval(const struct judge *j, uint64_t interval_ms, unsigned draw);

struct target {
	uint32_t magic;
	struct checker *checker;
	const struct conf_upstream *up;
	const struct conf_server *server;
	unsigned cell;
	struct addr addr;		/* ADDR_NONE: the cell stands for nothing now */
	char text[160];			/* "NAME of upstream U", for the log */
	struct judge judge;
	uint64_t since_ms;		/* of the present state */
	struct timer timer;
	struct probe probe;
};

void target_init(struct target *t, struct checker *c, const struct conf_upstream *u, const struct conf_server *s,
		 unsigned cell);
/* Takes up what an earlier checker left in the cell, and begins to watch. */
void target_adopt(struct target *t);
/* The cell stands for this address from now on; why: HEALTH_WHY_NONE for the first ones of a name. */
void target_come(struct target *t, const struct addr *a, enum health_why why);
/* The address is no longer the name's. */
void target_gone(struct target *t);

/* ---- expiry.c ---- */
/* Warns of certificates that end soon, now and every day. */
void expiry_start(struct expiry *e, struct checker *c);

/* ---- names.c ---- */

struct name {
	uint32_t magic;
	struct checker *checker;
	const struct conf_upstream *up;
	const struct conf_server *server;
	struct target *targets;		/* ntargets of them */
	unsigned ntargets;
	struct query query;
	struct timer timer;
	unsigned failures;		/* in a row */
	bool known;			/* has had an address */
	enum resolve_rc said;		/* the trouble that was logged last; RESOLVE_OK: none */
	unsigned said_too_many;		/* the count that was logged last */
};

void name_init(struct name *n, struct checker *c, const struct conf_upstream *u, const struct conf_server *s,
	       struct target *targets);
/* Looks up at once, and again and again. */
void name_start(struct name *n);
/* Makes the cells stand for just these addresses, as far as there are cells; those that stay keep theirs. */
void name_apply(struct name *n, const struct addr *v, unsigned count);
void name_on_answer(struct query *q, enum resolve_rc rc, const struct answer *a);

#endif
