/* Operations: kernels' launches, copies, fills and libraries' calls; and the log of those that ran. */
#ifndef LAUNCHES_H
#define LAUNCHES_H
#include "checks.h"
#include "device.h"

struct module;

/* A kernel as cuModuleGetFunction gives it: decoded at its first launch. */
struct function { struct module *module; char *name; struct kernel *kernel; };

struct function *function_new(struct module *, const char *name); /* NULL if the module has none of this name */
void launch_logged(const struct operation *, struct traffic);
#endif
