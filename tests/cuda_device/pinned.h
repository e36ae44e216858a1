/* Pinned memory of the host: what a queued copy will write there must not be read before, nor what it will read be written.
   With checks the pages are closed to the host meanwhile, and a touch is a finding. */
#ifndef PINNED_H
#define PINNED_H
#include "device.h"

void pinned_hold(const struct operation *);    /* when it is queued */
void pinned_release(const struct operation *); /* when it runs */
int is_pinned(const void *);
extern volatile int pinned_by_device; /* while an operation runs */
#endif
