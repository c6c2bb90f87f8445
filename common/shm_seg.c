/*
 * shm_seg.c - making shared segments.
 *
 * Called by shm.c and shm_record.c for the master, and to map in its children.
 * Knows nothing of what is in them.
 */
#include "common/shm_seg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

size_t shm_seg_pages(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return n == 0 ? page : (n + page - 1) / page * page;
}

int shm_seg_make(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	if (fchmod(fd, 0600) == 0 && ftruncate(fd, (off_t)size) == 0
	    && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		return fd;
	int why = errno;
	close(fd);
	errno = why;
	return -1;
}

int shm_seg_readonly(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void *shm_seg_map(int fd, size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

bool shm_seg_is(int fd, size_t size)
{
	const int seals = F_SEAL_GROW | F_SEAL_SHRINK;
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_size == (off_t)size && (fcntl(fd, F_GET_SEALS) & seals) == seals)
		return true;
	errno = EPROTO;
	return false;
}
