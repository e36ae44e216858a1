/* What each part has: the kinds of its Ops, which the module adds to its own when the first of them is needed. */
#define FASTVAE_MODULE
#include "fastvae.h"

#define KIND(name) extern const op_kind name##_kind;
#include "kinds.h"
#undef KIND
#define KIND(name) &name##_kind,

/* NULL, with an exception, if numpy cannot be had. */
__attribute__((visibility("default"))) const op_kind *const *fv_kinds(void) {
    static const op_kind *const kinds[] = {
#include "kinds.h"
        NULL};
    return _import_array() < 0 ? NULL : kinds;
}
