/*
 * atomic128.h - the one place for atomics of 16 octets: one aligned vector load to read, cmpxchg16b to write.
 *
 * Flow:   table/verdict_table.c, on memory that several processes share.
 * Touches: the 16 octets given, aligned to 16.
 * Keeps:  never a call into libatomic, which gcc makes of C11 atomics of this size: its lock belongs to one process, so
 *         two processes would tear each other's entries. Loads acquire, swaps acquire and release (x86-64 orders both
 *         by itself; the "memory" clobber holds the compiler to it).
 * Source: Intel SDM volume 3A section 9.1.1: aligned 16-octet vector loads and stores are atomic on processors with
 *         AVX; AMD says the same of its own (APM volume 2 section 7.3.2). atomic128_cpu_ok() is asked at start.
 *
 * ThreadSanitizer does not see into inline assembly. Its own __tsan_atomic128_* are no way out: they take a lock of one
 * process, and they would put other code under test than the code that runs. So in its builds each access is
 * accompanied by harmless 8-octet atomics of the same order on both halves (a load; before a swap an OR with zero): a
 * plain access to the same octets elsewhere is then reported as a race, and what was written before a swap counts as
 * seen by whoever reads the swap's value.
 */
#ifndef GREYLINE_BASE_ATOMIC128_H
#define GREYLINE_BASE_ATOMIC128_H

#include <stdbool.h>
#include <stdint.h>

#ifndef __x86_64__
#error "16-octet atomics are written for x86-64 alone so far"
#endif

#include <cpuid.h>
#include <smmintrin.h>

#if defined(__SANITIZE_THREAD__)
#define ATOMIC128_TELL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOMIC128_TELL_TSAN 1
#endif
#endif
#ifndef ATOMIC128_TELL_TSAN
#define ATOMIC128_TELL_TSAN 0
#endif

struct octets16 {
	_Alignas(16) uint64_t lo;
	uint64_t hi;
};

/* Whether this processor does both as needed. */
static inline bool
atomic128_cpu_ok(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_CMPXCHG16B) != 0 && (c & bit_AVX) != 0;
}

static inline struct octets16
atomic128_load(const void *p)
{
	__m128i v;

	__asm__ volatile("vmovdqa %1, %0" : "=x"(v) : "m"(*(const __m128i *)p) : "memory");
	if (ATOMIC128_TELL_TSAN) {
		(void)__atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
		(void)__atomic_load_n((const uint64_t *)p + 1, __ATOMIC_ACQUIRE);
	}
	return (struct octets16){ .lo = (uint64_t)_mm_cvtsi128_si64(v), .hi = (uint64_t)_mm_extract_epi64(v, 1) };
}

/* Writes want where the 16 octets at p are *expected; else false, and *expected is what they are. */
static inline bool
atomic128_cas(void *p, struct octets16 *expected, struct octets16 want)
{
	bool done;

	if (ATOMIC128_TELL_TSAN) {
		(void)__atomic_fetch_or((uint64_t *)p, 0, __ATOMIC_ACQ_REL);
		(void)__atomic_fetch_or((uint64_t *)p + 1, 0, __ATOMIC_ACQ_REL);
	}
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(done), "+m"(*(struct octets16 *)p), "+a"(expected->lo), "+d"(expected->hi)
			 : "b"(want.lo), "c"(want.hi)
			 : "memory");
	return done;
}

#endif
