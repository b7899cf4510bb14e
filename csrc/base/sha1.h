/* sha1.h -- SHA-1 (RFC 3174) of a short block, at once.
 *
 * Not for secrets: an answer's ETag is the SHA-1 of its body, and for a few bytes the
 * digest objects of a general library cost several times what the digest does. Long
 * bodies are better served by that library.
 *
 * The compression of blocks is one of the functions that fl_cpu chooses (scan.h): the
 * SHA instructions of x86-64 where the processor has them, else portable C.
 *
 * Layer: base. Threads: any, once fl_cpu_init has returned.
 */
#ifndef FL_BASE_SHA1_H
#define FL_BASE_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define FL_SHA1_SIZE 20

/* The digest of n bytes. */
void fl_sha1(const char *p, size_t n, uint8_t digest[FL_SHA1_SIZE]);

/* What fl_cpu.sha1_blocks is one of: takes `blocks` blocks of 64 bytes into the state. */
void fl_sha1_blocks_scalar(uint32_t state[5], const char *p, size_t blocks);

/* The fastest of them that this processor runs. */
void (*fl_sha1_best(void))(uint32_t state[5], const char *p, size_t blocks);

#endif
