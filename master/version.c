/*
 * version.c - what "weir -V" tells.
 *
 * One line each: version, build, compiler, libraries as they are at run time.
 * Called by main() alone.
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "master/version.h"

#include <ares.h>
#include <gnu/libc-version.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <seccomp.h>
#include <sys/utsname.h>

#include "common/panic.h"
#include "master/priv.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

void version_print(FILE *out)
{
	const struct scmp_version *seccomp = seccomp_version();
	struct utsname host;
	char pcre[64] = "?";

	pcre2_config(PCRE2_CONFIG_VERSION, pcre);
	panic_catch_signals();		/* finds the build id */
	fprintf(out, "weir %s\n", WEIR_VERSION);
	fprintf(out, "build      %s\n", panic_build_id()[0] != '\0' ? panic_build_id() : "without an id");
	fprintf(out, "options    %s\n", WEIR_BUILD_OPTIONS);
	fprintf(out, "compiler   %s\n", COMPILER);
	fprintf(out, "file       %s\n", WEIR_CONF_FILE);
	fprintf(out, "glibc      %s\n", gnu_get_libc_version());
	fprintf(out, "PCRE2      %s\n", pcre);
	fprintf(out, "OpenSSL    %s\n", OpenSSL_version(OPENSSL_VERSION_STRING));
	fprintf(out, "c-ares     %s\n", ares_version(NULL));
	fprintf(out, "nghttp2    %s\n", nghttp2_version(0)->version_str);
	if (seccomp != NULL)
		fprintf(out, "libseccomp %u.%u.%u\n", seccomp->major, seccomp->minor, seccomp->micro);
#ifdef WEIR_INIH_VERSION
	fprintf(out, "inih       %s\n", WEIR_INIH_VERSION);
#else
	fprintf(out, "inih       (tells no version)\n");
#endif
	if (uname(&host) == 0)
		fprintf(out, "kernel     %s %s, Landlock ABI %d\n", host.sysname, host.release, landlock_abi());
}
