/*
 * mutant.h - what the mutants built into the test program of the scenarios look like to it.
 *
 * tests/sim/make_mutants.py copies sources with one switch for each mutant in them; test_scenes chooses one by mutant_now. The program
 * itself has no such switch, and the scenarios alone are run without any (mutant_none.c).
 */
#ifndef GREYLINE_TESTS_SIM_MUTANT_H
#define GREYLINE_TESTS_SIM_MUTANT_H

struct mutant {
	const char *id;      /* of tests/dialogues/requirements.txt */
	const char *where;   /* file and line of the mutant's text */
	const char *missing; /* not NULL: what it changes is not there any more, and why that is no longer tested */
};

extern const struct mutant mutants[];
extern const unsigned mutants_n;
extern unsigned mutant_now; /* 0: none; else the mutant's place in mutants[] and 1 */

#endif
