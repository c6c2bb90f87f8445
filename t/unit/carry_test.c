/*
 * carry_test.c - what one configuration's shared memory hands on to the next.
 */
#include "t/unit/unit.h"

#include <string.h>

#include "common/conf.h"
#include "common/shm.h"

#define SERVERS 4

/* A configuration with one upstream for each name, its servers given by names in `servers`; cells in that order. */
struct made {
	struct conf conf;
	struct conf_upstream upstreams[2], *list[2];
	struct conf_server servers[2][SERVERS];
	struct conf_route routes[2], *routes_list[2];
	struct conf_target targets[2];
	struct conf_listen listens[2], *listens_list[2];
};

/* Routes "api", to the upstream "app", and one of another name; listeners likewise. `first`: where they stand. */
static void add_routes(struct made *m, unsigned first, const struct conf_upstream *app)
{
	m->conf.routes = m->routes_list;
	m->conf.listens = m->listens_list;
	m->conf.nroutes = m->conf.nlistens = 2;
	m->conf.nseries = 1;
	for (unsigned i = 0; i < 2; i++) {
		m->routes[i] = (struct conf_route){ .magic = CONF_ROUTE_MAGIC, .id = i, .series = m->conf.nseries++,
						    .name = i == first ? SPAN("api") : span_of(first ? "new" : "old"),
						    .targets = &m->targets[i], .ntargets = 1 };
		m->targets[i] = (struct conf_target){ app, m->conf.nseries };
		m->conf.nseries += app->nservers;
		m->listens[i] = (struct conf_listen){ .magic = CONF_LISTEN_MAGIC, .id = i,
						      .name = i == first ? SPAN("http") : span_of(first ? "new" : "old") };
		m->routes_list[i] = &m->routes[i];
		m->listens_list[i] = &m->listens[i];
	}
}

static void make(struct made *m, const char *const upstreams[2], const char *const servers[2][SERVERS])
{
	unsigned cell = 0;

	memset(m, 0, sizeof(*m));
	m->conf = (struct conf){ .magic = CONF_MAGIC, .upstreams = m->list };
	for (unsigned u = 0; u < 2 && upstreams[u] != NULL; u++) {
		struct conf_upstream *up = m->list[u] = &m->upstreams[u];

		*up = (struct conf_upstream){ .magic = CONF_UPSTREAM_MAGIC, .name = span_of(upstreams[u]), .id = u,
					      .servers = m->servers[u], .cell = cell };
		m->conf.nupstreams++;
		for (unsigned i = 0; i < SERVERS && servers[u][i] != NULL; i++) {
			m->servers[u][i] = (struct conf_server){
				.magic = CONF_SERVER_MAGIC, .name = span_of(servers[u][i]), .text = span_of(servers[u][i]),
				.addr = { .family = ADDR_V4 }, .id = cell, .cell = cell, .ncells = 1 };
			cell++;
			up->nservers++;
		}
		up->ncells = cell - up->cell;
	}
	m->conf.ncells = m->conf.nservers = cell;
}

static const char *const old_ups[2] = { "app", "gone" };
static const char *const old_servers[2][SERVERS] = { { "a", "b", "c" }, { "a" } };
static const char *const new_ups[2] = { "more", "app" };
static const char *const new_servers[2][SERVERS] = { { "a" }, { "c", "new", "a" } };

static struct made from, to;
static struct shm old, new;

static void start(void)
{
	make(&from, old_ups, old_servers);
	make(&to, new_ups, new_servers);
	add_routes(&from, 0, &from.upstreams[0]);
	add_routes(&to, 1, &to.upstreams[1]);
	const struct shm_size old_size = shm_size_of(&from.conf, 2), new_size = shm_size_of(&to.conf, 3);

	ck_assert(shm_init(&old, &old_size));
	shm_init_health(&old, &from.conf);
	ck_assert(shm_init(&new, &new_size));
	shm_init_health(&new, &to.conf);
}

START_TEST(names_find_their_like)
{
	make(&from, old_ups, old_servers);
	make(&to, new_ups, new_servers);
	ck_assert_int_eq(shm_find_cell(&from.conf, &to.upstreams[1], &to.servers[1][0]), 2);
	ck_assert_int_eq(shm_find_cell(&from.conf, &to.upstreams[1], &to.servers[1][1]), -1);
	ck_assert_int_eq(shm_find_cell(&from.conf, &to.upstreams[1], &to.servers[1][2]), 0);
	/* The same server of another upstream is another one, and so is one whose address changed. */
	ck_assert_int_eq(shm_find_cell(&from.conf, &to.upstreams[0], &to.servers[0][0]), -1);
	to.servers[1][0].text = SPAN("elsewhere");
	ck_assert_int_eq(shm_find_cell(&from.conf, &to.upstreams[1], &to.servers[1][0]), -1);
	ck_assert_int_eq(shm_find_upstream(&from.conf, &to.upstreams[1]), 0);
	ck_assert_int_eq(shm_find_upstream(&from.conf, &to.upstreams[0]), -1);
}
END_TEST

START_TEST(state_goes_with_the_name)
{
	start();
	shm_set_health(&old.health[2], HEALTH_DOWN, HEALTH_WHY_CHECK, 1234);
	atomic_store(&old.health[2].judge, 0x10002);
	atomic_store(&old.servers[2].eject, 77);
	atomic_store(&old.servers[2].admin, shm_admin_word((struct shm_admin){ HELD_DRAIN, true, 9, 77 }));
	atomic_store(&old.upstreams[0].budget, 55);
	/* Nonsense that a child may have written stays behind. */
	atomic_store(&old.health[0].word, 0xff);
	shm_carry(&new, &to.conf, &old, &from.conf);
	ck_assert_uint_eq(shm_health_word(&new, 1), health_word(HEALTH_DOWN, HEALTH_WHY_CHECK, 1234));
	ck_assert_uint_eq(atomic_load(&new.health[1].judge), 0x10002);
	ck_assert_uint_eq(atomic_load(&new.servers[1].eject), 77);
	struct shm_admin a = shm_admin(atomic_load(&new.servers[1].admin));
	ck_assert(a.held == HELD_DRAIN && a.has_weight && a.weight == 9 && a.since_s == 77);
	ck_assert_uint_eq(atomic_load(&new.upstreams[1].budget), 55);
	ck_assert_uint_eq(atomic_load(&new.upstreams[0].budget), 0);
	for (unsigned cell = 0; cell < 4; cell++)
		ck_assert_int_eq(health_state_of(shm_health_word(&new, cell)), cell == 1 ? HEALTH_DOWN : HEALTH_UP);
	ck_assert_ptr_null(shm_verify(&new));
	shm_fini(&old);
	shm_fini(&new);
}
END_TEST

START_TEST(counters_add_up)
{
	start();
	for (unsigned slot = 0; slot < 2; slot++) {
		atomic_store(&shm_row(&old, slot)->gen, 1);
		atomic_store(&shm_row(&old, slot)->stats[STAT_REQUESTS], 100 + slot);
		atomic_store(&shm_row(&old, slot)->stats[STAT_ACTIVE_CONNS], 5);
		atomic_store(&shm_use(&old, slot)[2].requests, 10 + slot);
		atomic_store(&shm_use(&old, slot)[3].requests, 1000);
		shm_reap_row(&old, slot);
	}
	atomic_store(&shm_row(&new, 0)->stats[STAT_REQUESTS], 1);
	atomic_store(&shm_use(&new, 0)[1].requests, 4);
	shm_carry_counts(&new, &to.conf, &old, &from.conf, 1);
	ck_assert_uint_eq(shm_stat(&new, STAT_REQUESTS), 202);
	ck_assert_uint_eq(shm_stat(&new, STAT_ACTIVE_CONNS), 0);
	ck_assert_uint_eq(shm_requests(&new, 1), 25);
	ck_assert_uint_eq(shm_requests(&new, 0), 0);
	/* A row that dies later is folded on top. */
	atomic_store(&shm_row(&new, 0)->gen, 1);
	shm_reap_row(&new, 0);
	ck_assert_uint_eq(shm_stat(&new, STAT_REQUESTS), 202);
	ck_assert_uint_eq(shm_requests(&new, 1), 25);
	shm_fini(&old);
	shm_fini(&new);
}
END_TEST

static _Atomic uint64_t *word(struct shm *s, unsigned slot, size_t at)
{
	return meter_in(shm_row(s, slot), at);
}

/* Whatever stands elsewhere now finds its counters under its name; what is gone takes them along. */
START_TEST(meters_go_with_the_name)
{
	const size_t conns = offsetof(struct meter_series, answers) + 2 * sizeof(uint64_t);

	start();
	for (unsigned slot = 0; slot < 2; slot++) {
		atomic_store(&shm_row(&old, slot)->gen, 1);
		/* Route api, server "c" of app; then the same server of the route that goes. */
		meter_add(word(&old, slot, meter_series_at(&old, from.targets[0].series + 2) + conns), 5);
		meter_add(word(&old, slot, meter_series_at(&old, from.targets[1].series + 2) + conns), 100);
		meter_add(word(&old, slot, meter_series_at(&old, 0) + conns), 3);
		meter_observe(meter_in(shm_row(&old, slot), meter_route_at(&old, 0)), 700);
		meter_observe(meter_in(shm_row(&old, slot), meter_route_at(&old, 2)), 1u << 30);
		meter_add(word(&old, slot, meter_listen_at(&old, 0)), 7);
		meter_add(word(&old, slot, meter_server_at(&old, 2) + offsetof(struct meter_server, ejections)), 2);
	}
	shm_reap_row(&old, 1);
	shm_reap_row(&old, 0);
	ck_assert_uint_eq(shm_sum(&old, meter_series_at(&old, from.targets[0].series + 2) + conns), 10);
	meter_add(word(&new, 1, meter_series_at(&new, to.targets[1].series) + conns), 1);
	ck_assert(!shm_has_taken(&new, 4));
	struct shm_version before = shm_version(&new);
	shm_carry_counts(&new, &to.conf, &old, &from.conf, 4);
	ck_assert(shm_has_taken(&new, 4) && !shm_has_taken(&new, 5));
	ck_assert(!shm_same_version(before, shm_version(&new)));
	ck_assert_uint_eq(shm_sum(&new, meter_series_at(&new, to.targets[1].series) + conns), 11);
	ck_assert_uint_eq(shm_sum(&new, meter_series_at(&new, to.targets[0].series) + conns), 0);
	ck_assert_uint_eq(shm_sum(&new, meter_series_at(&new, 0) + conns), 6);
	ck_assert_uint_eq(shm_sum(&new, meter_route_at(&new, 1)), 2);
	ck_assert_uint_eq(shm_sum(&new, meter_route_at(&new, 1) + offsetof(struct meter_hist, sum_us)), 1400);
	ck_assert_uint_eq(shm_sum(&new, meter_route_at(&new, 2) + METER_BOUNDS * sizeof(uint64_t)), 2);
	ck_assert_uint_eq(shm_sum(&new, meter_listen_at(&new, 1)), 14);
	ck_assert_uint_eq(shm_sum(&new, meter_listen_at(&new, 0)), 0);
	ck_assert_uint_eq(shm_sum(&new, meter_server_at(&new, 1) + offsetof(struct meter_server, ejections)), 4);
	/* Who dies later is folded into the copy that knows of it. */
	atomic_store(&shm_row(&new, 1)->gen, 1);
	shm_reap_row(&new, 1);
	ck_assert(shm_has_taken(&new, 4));
	ck_assert_uint_eq(shm_sum(&new, meter_series_at(&new, to.targets[1].series) + conns), 11);
	ck_assert_ptr_null(shm_verify(&new));
	shm_fini(&old);
	shm_fini(&new);
}
END_TEST

START_TEST(buckets)
{
	ck_assert_uint_eq(meter_bucket(0), 0);
	for (unsigned i = 0; i < METER_BOUNDS; i++) {
		ck_assert_uint_eq(meter_bucket(meter_bounds[i]), i);
		ck_assert_uint_eq(meter_bucket(meter_bounds[i] + 1u), i + 1);
	}
	ck_assert_uint_eq(meter_bucket(UINT64_MAX), METER_BOUNDS);
}
END_TEST

UNIT("carry", names_find_their_like, state_goes_with_the_name, counters_add_up, meters_go_with_the_name, buckets)
