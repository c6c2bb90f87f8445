/*
 * byte_class.c - the table behind byte_class.h.
 *
 * Worked out by the compiler from the rules below, one entry per byte value.
 */
#include "worker/http/byte_class.h"

#define IN(c, lo, hi) ((c) >= (lo) && (c) <= (hi))
#define ALNUM(c) (IN(c, '0', '9') || IN(c, 'a', 'z') || IN(c, 'A', 'Z'))

#define TOKEN(c) (ALNUM(c) || (c) == '!' || IN(c, '#', '\'') || (c) == '*' || (c) == '+' || (c) == '-' || \
		  (c) == '.' || IN(c, '^', '`') || (c) == '|' || (c) == '~')
#define TARGET(c) (IN(c, 0x21, 0x7e) && (c) != '#')
#define PATH(c) (TARGET(c) && (c) != '.' && (c) != '%' && (c) != '?' && (c) != '\\')
#define HEX(c) (IN(c, '0', '9') || IN(c, 'a', 'f') || IN(c, 'A', 'F'))
#define HOST(c) (ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define VALUE(c) ((c) == '\t' || ((c) >= 0x20 && (c) != 0x7f))

#define PLAIN(c) (IN(c, 0x20, 0x7e) && (c) != '"' && (c) != '\\')

#define C1(c) ((TOKEN(c) ? BYTE_TOKEN : 0) | ((c) == '_' ? BYTE_UNDER : 0) | (TARGET(c) ? BYTE_TARGET : 0) |	\
	       (PATH(c) ? BYTE_PATH : 0) | (HEX(c) ? BYTE_HEX : 0) | (HOST(c) ? BYTE_HOST : 0) |		\
	       (VALUE(c) ? BYTE_VALUE : 0) | (PLAIN(c) ? BYTE_PLAIN : 0))
#define C4(c) C1(c), C1((c) + 1), C1((c) + 2), C1((c) + 3)
#define C16(c) C4(c), C4((c) + 4), C4((c) + 8), C4((c) + 12)
#define C64(c) C16(c), C16((c) + 16), C16((c) + 32), C16((c) + 48)

const uint8_t byte_class[256] = { C64(0), C64(64), C64(128), C64(192) };
