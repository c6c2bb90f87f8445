/*
 * panic.c - what a process says before it dies of its own bug.
 *
 * Owns the crash handlers, their stack and the note of what the process was
 * busy with. Called by failed assertions and by the kernel. Everything behind
 * panic_fail() and on_crash() is async-signal-safe and must not wait: no
 * allocation, no stdio, no locks, no write to a full pipe.
 */
#include "common/panic.h"

#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/poison.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define FRAMES 48
#define STACK_BYTES 65536
#define BUILD_ID_BYTES 20

static struct {
	struct panic_note note;
	char *page;
	size_t page_size, page_used;
	int fd;
	int trace[2];			/* pipe that frames pass through on their way to lines; -1: none */
	volatile sig_atomic_t dying;
	void (*save)(void *owner);
	void *owner;
	char build_id[2 * BUILD_ID_BYTES + 1];
	char stack[STACK_BYTES] __attribute__((aligned(16)));
} the_panic = { .fd = STDERR_FILENO, .trace = { -1, -1 } };

void panic_last_words(void (*save)(void *owner), void *owner)
{
	the_panic.save = save;
	the_panic.owner = owner;
}

struct panic_note *panic_note(void)
{
	return &the_panic.note;
}

void panic_set_page(char *page, size_t size)
{
	the_panic.page = page;
	the_panic.page_size = page != NULL ? size : 0;
	the_panic.page_used = 0;
}

void panic_set_fd(int fd)
{
	the_panic.fd = fd >= 0 ? fd : STDERR_FILENO;
}

/* ---- text without stdio ---- */

struct line {
	size_t n;
	char text[512];
};

static void add_bytes(struct line *l, const char *p, size_t n)
{
	size_t room = sizeof(l->text) - 1 - l->n;	/* one is kept for the line end */

	if (n > room)
		n = room;
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

static void add(struct line *l, const char *s)
{
	if (s != NULL)
		add_bytes(l, s, strlen(s));
}

static void add_number(struct line *l, uint64_t v, unsigned base)
{
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v > 0);
	add_bytes(l, digits + at, sizeof(digits) - at);
}

static void to_page(const char *p, size_t n)
{
	size_t used = the_panic.page_used;

	if (the_panic.page_size == 0 || used >= the_panic.page_size - 1)
		return;
	if (n > the_panic.page_size - 1 - used)
		n = the_panic.page_size - 1 - used;
	memcpy(the_panic.page + used, p, n);
	the_panic.page[used + n] = '\0';
	the_panic.page_used = used + n;
}

static void line_start(struct line *l)
{
	l->n = 0;
	add(l, "panic: ");
}

/* To the log only when it takes the line at once: the page has it anyhow. */
static void line_end(struct line *l)
{
	struct pollfd pfd = { .fd = the_panic.fd, .events = POLLOUT };

	l->text[l->n++] = '\n';
	to_page(l->text, l->n);
	if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT) != 0 && write(pfd.fd, l->text, l->n) < 0)
		return;			/* nobody is left to tell */
}

/* ---- what was going on ---- */

static void say_busy(void)
{
	const struct panic_note *note = &the_panic.note;
	struct line l;

	if (note->conn == 0 && note->exchange == 0 && note->request_id[0] == '\0')
		return;
	line_start(&l);
	add(&l, "busy with connection ");
	add_number(&l, note->conn, 10);
	if (note->exchange != 0) {
		add(&l, ", exchange ");
		add_number(&l, note->exchange, 10);
	}
	if (note->request_id[0] != '\0') {
		add(&l, ", request id ");
		add_bytes(&l, note->request_id, strnlen(note->request_id, sizeof(note->request_id)));
	}
	line_end(&l);
}

static void say_build(void)
{
	struct line l;

	line_start(&l);
	add(&l, "weir " PACKAGE_VERSION);
	if (the_panic.build_id[0] != '\0') {
		add(&l, ", build ");
		add(&l, the_panic.build_id);
	}
	line_end(&l);
}

/* Turns what backtrace_symbols_fd() wrote into the pipe into lines. */
static void say_frames_from_pipe(void)
{
	struct line l;
	char piece[256];
	ssize_t n;

	line_start(&l);
	while ((n = read(the_panic.trace[0], piece, sizeof(piece))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (piece[i] != '\n') {
				add_bytes(&l, piece + i, 1);
				continue;
			}
			line_end(&l);
			line_start(&l);
		}
	}
}

static void say_backtrace(void)
{
	void *frames[FRAMES];
	int n = backtrace(frames, FRAMES);

	/* Without the pipe nothing was loaded beforehand either; the frames alone are worth the try. */
	if (the_panic.trace[1] < 0) {
		backtrace_symbols_fd(frames, n, the_panic.fd);
		return;
	}
	backtrace_symbols_fd(frames, n, the_panic.trace[1]);
	say_frames_from_pipe();
}

static void add_who(struct line *l)
{
	add(l, the_panic.note.role != NULL ? the_panic.note.role : "weir");
	add(l, "[");
	add_number(l, (uint64_t)getpid(), 10);
	add(l, "]: ");
}

static void say_rest(void)
{
	say_busy();
	say_build();
	say_backtrace();
	if (the_panic.save != NULL)
		the_panic.save(the_panic.owner);
}

static void set_default(int sig)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	sigaction(sig, &sa, NULL);
}

_Noreturn void panic_fail(const char *file, int line, const char *func, const char *cond)
{
	struct line l;

	/* A check that fails while we report another adds nothing. */
	if (the_panic.dying == 0) {
		the_panic.dying = 1;
		line_start(&l);
		add_who(&l);
		add(&l, "\"");
		add(&l, cond);
		add(&l, "\" does not hold in ");
		add(&l, func);
		add(&l, "(), ");
		add(&l, file);
		add(&l, ":");
		add_number(&l, (uint64_t)line, 10);
		line_end(&l);
		say_rest();
	}
	set_default(SIGABRT);
	abort();
}

/* ---- signals ---- */

static const struct { int sig; const char *name; } crash_signals[] = {
	{ SIGABRT, "SIGABRT" },
#ifndef POISON_ASAN			/* where the sanitizer has the better report */
	{ SIGSEGV, "SIGSEGV" }, { SIGBUS, "SIGBUS" }, { SIGFPE, "SIGFPE" }, { SIGILL, "SIGILL" },
#endif
};

static const char *signal_name(int sig)
{
	for (size_t i = 0; i < ARRAY_LEN(crash_signals); i++) {
		if (crash_signals[i].sig == sig)
			return crash_signals[i].name;
	}
	return "a signal";
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
	struct line l;

	(void)context;
	if (the_panic.dying == 0) {
		the_panic.dying = 1;
		line_start(&l);
		add_who(&l);
		add(&l, signal_name(sig));
		if (info->si_code <= 0) {
			add(&l, " sent by process ");
			add_number(&l, (uint64_t)info->si_pid, 10);
		} else {
			add(&l, " at address 0x");
			add_number(&l, (uint64_t)(uintptr_t)info->si_addr, 16);
		}
		line_end(&l);
		say_rest();
	}
	/* Blocked until we return: the core then shows the place of the crash, not this function. */
	set_default(sig);
	raise(sig);
}

/* Writes the build id as hex when these notes hold one. */
static void read_notes(const char *at, const char *end, char *out)
{
	while (end - at >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *nh = (const void *)at;
		const char *name = at + sizeof(*nh);
		const unsigned char *id = (const void *)(name + ((nh->n_namesz + 3u) & ~3u));
		struct line hex = { .n = 0 };

		at = (const char *)id + ((nh->n_descsz + 3u) & ~3u);
		if (nh->n_type != NT_GNU_BUILD_ID || nh->n_namesz != 4 || memcmp(name, "GNU", 4) != 0)
			continue;
		for (unsigned i = 0; i < nh->n_descsz && i < BUILD_ID_BYTES; i++) {
			add_number(&hex, id[i] >> 4, 16);
			add_number(&hex, id[i] & 15, 16);
		}
		memcpy(out, hex.text, hex.n);
	}
}

/* The linker leaves the build id among the notes of the program itself, which is the first object. */
static int find_build_id(struct dl_phdr_info *info, size_t size, void *out)
{
	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const char *at = (const char *)(info->dlpi_addr + ph->p_vaddr);

		if (ph->p_type == PT_NOTE)
			read_notes(at, at + ph->p_memsz, out);
	}
	return 1;
}

const char *panic_build_id(void)
{
	return the_panic.build_id;
}

void panic_fds(int fds[2])
{
	fds[0] = the_panic.trace[0];
	fds[1] = the_panic.trace[1];
}

void panic_catch_signals(void)
{
	stack_t stack = { .ss_sp = the_panic.stack, .ss_size = sizeof(the_panic.stack) };
	struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	void *frame[1];

	/* The first call loads the unwinder, which a handler must not. */
	backtrace(frame, 1);
	dl_iterate_phdr(find_build_id, the_panic.build_id);
	/* A pipe inherited over fork would be read by two. */
	for (int i = 0; i < 2; i++) {
		if (the_panic.trace[i] >= 0)
			close(the_panic.trace[i]);
	}
	if (pipe2(the_panic.trace, O_NONBLOCK | O_CLOEXEC) != 0)
		the_panic.trace[0] = the_panic.trace[1] = -1;
	sigaltstack(&stack, NULL);
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(crash_signals); i++)
		sigaction(crash_signals[i].sig, &sa, NULL);
}
