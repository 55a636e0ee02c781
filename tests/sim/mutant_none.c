/*
 * mutant_none.c - the scenarios' program without mutants.
 */
#include "tests/sim/mutant.h"

const struct mutant mutants[1];
const unsigned mutants_n = 0;
unsigned mutant_now;
