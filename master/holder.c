/*
 * holder.c - who listens on an address already.
 *
 * Owns the search through /proc: listening sockets of the address by inode,
 * then the processes that have one of them open. Called by the master while it
 * starts and an address is taken. It decides nothing and closes what it opens.
 */
#include "master/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"

#define INODES 256
#define TCP_LISTENING 0x0a

struct search {
	unsigned long inodes[INODES];
	unsigned ninodes;
	struct holder *out;
	bool stranger;			/* somebody who is no orphan of ours */
	bool orphan;
};

static void add_inode(struct search *s, unsigned long inode)
{
	if (s->ninodes < INODES && inode != 0)
		s->inodes[s->ninodes++] = inode;
}

/* Any listener on the port: which of two overlapping addresses conflict is the kernel's affair. */
static void find_tcp_inodes(struct search *s, const char *table, unsigned port)
{
	char line[512];
	FILE *f = fopen(table, "re");

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned local, state;
		unsigned long inode;

		if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu",
			   &local, &state, &inode) == 3 && local == port && state == TCP_LISTENING)
			add_inode(s, inode);
	}
	fclose(f);
}

static void find_unix_inodes(struct search *s, const char *path)
{
	char line[512];
	FILE *f = fopen("/proc/net/unix", "re");

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned long inode;
		int at = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu %n", &inode, &at) == 1 && at > 0 &&
		    strcmp(line + at, path) == 0)
			add_inode(s, inode);
	}
	fclose(f);
}

static bool has_inode(const struct search *s, const char *link)
{
	unsigned long inode;

	if (sscanf(link, "socket:[%lu]", &inode) != 1)
		return false;
	for (unsigned i = 0; i < s->ninodes; i++) {
		if (s->inodes[i] == inode)
			return true;
	}
	return false;
}

/* Has this process one of the sockets open? *seen: its descriptors could be looked at. */
static bool holds(const struct search *s, pid_t pid, bool *seen)
{
	char path[64], link[64];
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	*seen = dir != NULL;
	if (dir == NULL)
		return false;
	for (struct dirent *e; !found && (e = readdir(dir)) != NULL;) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = '\0';
			found = has_inode(s, link);
		}
	}
	closedir(dir);
	return found;
}

static size_t read_file(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		n = 0;
	out[n] = '\0';
	return (size_t)n;
}

/* The words of the command line, or the name in parentheses where there is none. */
static void read_cmdline(pid_t pid, char *out, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	size_t n = read_file(path, out, size);
	while (n > 0 && out[n - 1] == '\0')
		n--;
	for (size_t i = 0; i < n; i++) {
		if (out[i] == '\0')
			out[i] = ' ';
	}
	if (n == 0) {
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		n = read_file(path, out, size);
		out[strcspn(out, "\n")] = '\0';
	}
}

static pid_t parent_of(pid_t pid)
{
	char path[64], text[512];
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	read_file(path, text, sizeof(text));
	const char *rest = strrchr(text, ')');
	if (rest == NULL || sscanf(rest, ") %*c %d", &parent) != 1)
		return 0;
	return parent;
}

/* A program by its own name: folders would crowd out what follows. */
static const char *without_folder(const char *cmdline)
{
	const char *end = cmdline + strcspn(cmdline, " "), *p = end;

	if (cmdline[0] != '/')
		return cmdline;
	while (p > cmdline && p[-1] != '/')
		p--;
	return p;
}

static bool is_orphan(pid_t pid, const char *cmdline)
{
	char parent[64];

	if (strncmp(cmdline, "weir: worker ", 13) != 0 && strncmp(cmdline, "weir: checker", 13) != 0)
		return false;
	read_cmdline(parent_of(pid), parent, sizeof(parent));
	return strncmp(parent, "weir: master", 12) != 0;
}

static void judge(struct search *s, pid_t pid)
{
	char cmdline[256];
	bool seen;
	bool has = holds(s, pid, &seen);

	if (!has && seen)
		return;
	read_cmdline(pid, cmdline, sizeof(cmdline));
	bool orphan = is_orphan(pid, cmdline);

	/* An orphan of ours hides its descriptors from all but root; the others that hide are passed over. */
	if (!has && !orphan)
		return;
	s->orphan |= orphan;
	if (!orphan && !s->stranger)
		s->out->pid = 0;
	s->stranger |= !orphan;
	if (s->out->pid == 0) {
		s->out->pid = pid;
		log_esc(s->out->name, sizeof(s->out->name), span_of(without_folder(cmdline)));
	}
}

/* As the kernel's tables print it: words of network order, each as this machine reads it. */
static void kernel_text(const struct addr *a, char *out, size_t size)
{
	const uint8_t *bytes = a->family == ADDR_V4 ? a->v4 : a->v6;
	size_t n = 0;
	uint32_t word;

	for (unsigned i = 0; i < (a->family == ADDR_V4 ? 4u : 16u); i += 4) {
		memcpy(&word, bytes + i, sizeof(word));
		n += (size_t)snprintf(out + n, size - n, "%08X", word);
	}
	snprintf(out + n, size - n, ":%04X", a->port);
}

unsigned holder_count(const struct addr *a)
{
	FILE *f = fopen(a->family == ADDR_V4 ? "/proc/net/tcp" : "/proc/net/tcp6", "re");
	char line[512], want[64], local[64];
	unsigned n = 0, state;

	kernel_text(a, want, sizeof(want));
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += sscanf(line, " %*d: %63s %*s %x", local, &state) == 2 && state == TCP_LISTENING &&
		     strcmp(local, want) == 0;
	if (f != NULL)
		fclose(f);
	return n;
}

void holder_find(const struct addr *a, struct holder *out)
{
	struct search s = { .out = out };

	memset(out, 0, sizeof(*out));
	if (a->family == ADDR_UNIX) {
		find_unix_inodes(&s, a->path);
	} else {
		find_tcp_inodes(&s, "/proc/net/tcp", a->port);
		find_tcp_inodes(&s, "/proc/net/tcp6", a->port);
	}
	DIR *dir = opendir("/proc");
	if (dir == NULL || s.ninodes == 0) {
		if (dir != NULL)
			closedir(dir);
		return;
	}
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		if (isdigit((unsigned char)e->d_name[0]))
			judge(&s, (pid_t)atoi(e->d_name));
	}
	closedir(dir);
	out->orphans = s.orphan && !s.stranger;
}
