/* cvt: between every two types. The rounding mode is the processor's own, set around the instruction. */
#include <math.h>
#include "machine.h"

#define CONVERSION(name, D, A, expression) \
  static void name(struct warp *w, const struct instruction *in) { \
    D *d = ROW(D, in->d); const A *x = ROW(A, in->a); \
    EACH(A a = x[i]; d[i] = (D)(expression)); \
  }

typedef __int128 s128;
#define CLAMPED(D, low, high) \
  static inline D clamp_##D(s128 a) { return a < (s128)(low) ? (D)(low) : a > (s128)(high) ? (D)(high) : (D)a; } \
  static inline D D##_of(f64 a) { \
    a = rint(a); \
    return a != a ? 0 : a <= (f64)(low) ? (D)(low) : a >= (f64)(high) ? (D)(high) : (D)a; \
  }
CLAMPED(u8, 0, UINT8_MAX) CLAMPED(s8, INT8_MIN, INT8_MAX)
CLAMPED(u16, 0, UINT16_MAX) CLAMPED(s16, INT16_MIN, INT16_MAX)
CLAMPED(u32, 0, UINT32_MAX) CLAMPED(s32, INT32_MIN, INT32_MAX)
CLAMPED(u64, 0, UINT64_MAX) CLAMPED(s64, INT64_MIN, INT64_MAX)

#define OF_INTEGER(D, A) CONVERSION(D##_of_##A, D, A, a) CONVERSION(D##_clamped_##A, D, A, clamp_##D(a))
#define OF_FLOAT(D, A) CONVERSION(D##_of_##A, D, A, D##_of((f64)a))
#define TO_INTEGER(D) \
  OF_INTEGER(D, u8) OF_INTEGER(D, s8) OF_INTEGER(D, u16) OF_INTEGER(D, s16) OF_INTEGER(D, u32) OF_INTEGER(D, s32) \
  OF_INTEGER(D, u64) OF_INTEGER(D, s64) OF_FLOAT(D, f16) OF_FLOAT(D, f32) OF_FLOAT(D, f64)
TO_INTEGER(u8) TO_INTEGER(s8) TO_INTEGER(u16) TO_INTEGER(s16)
TO_INTEGER(u32) TO_INTEGER(s32) TO_INTEGER(u64) TO_INTEGER(s64)

#define TO_FLOAT(D) \
  CONVERSION(D##_of_u8, D, u8, a) CONVERSION(D##_of_s8, D, s8, a) CONVERSION(D##_of_u16, D, u16, a) \
  CONVERSION(D##_of_s16, D, s16, a) CONVERSION(D##_of_u32, D, u32, a) CONVERSION(D##_of_s32, D, s32, a) \
  CONVERSION(D##_of_u64, D, u64, a) CONVERSION(D##_of_s64, D, s64, a) CONVERSION(D##_of_f16, D, f16, a) \
  CONVERSION(D##_of_f32, D, f32, a) CONVERSION(D##_of_f64, D, f64, a)
TO_FLOAT(f16) TO_FLOAT(f32) TO_FLOAT(f64)

/* A float as a whole number. */
CONVERSION(whole_f16, f16, f16, rint((f64)a))
CONVERSION(whole_f32, f32, f32, rintf(a))
CONVERSION(whole_f64, f64, f64, rint(a))

static void f16x2_of_f32(struct warp *w, const struct instruction *in) {
  f16 *d = ROW(f16, in->d);
  const f32 *high = ROW(f32, in->a), *low = ROW(f32, in->b);
  EACH(f16 l = (f16)low[i]; f16 h = (f16)high[i]; d[2 * i] = l; d[2 * i + 1] = h);
}

/* Operands: a byte is c, a half h, and so on; in capitals where a wider register takes the sign. */
#define PAIR(D, d, A, a) {"cvt." #D "." #A, D##_of_##A, d a, 0}
#define PAIRS(D, d, A, a) PAIR(D, d, A, a), {"cvt.sat." #D "." #A, D##_clamped_##A, d a, 0}
#define ROUNDED(D, d, A, a) PAIR(D, d, A, a), {"cvt.sat." #D "." #A, D##_of_##A, d a, 0}
#define INTEGER(D, d) \
  PAIRS(D, d, u8, "c"), PAIRS(D, d, s8, "c"), PAIRS(D, d, u16, "h"), PAIRS(D, d, s16, "h"), PAIRS(D, d, u32, "w"), \
  PAIRS(D, d, s32, "w"), PAIRS(D, d, u64, "x"), PAIRS(D, d, s64, "x"), ROUNDED(D, d, f16, "h"), \
  ROUNDED(D, d, f32, "w"), ROUNDED(D, d, f64, "x")
#define FLOAT(D, d) \
  PAIR(D, d, u8, "c"), PAIR(D, d, s8, "c"), PAIR(D, d, u16, "h"), PAIR(D, d, s16, "h"), PAIR(D, d, u32, "w"), \
  PAIR(D, d, s32, "w"), PAIR(D, d, u64, "x"), PAIR(D, d, s64, "x"), PAIR(D, d, f16, "h"), PAIR(D, d, f32, "w"), \
  PAIR(D, d, f64, "x")
const struct entry conversion_entries[] = {
    INTEGER(u8, "c"), INTEGER(s8, "C"), INTEGER(u16, "h"), INTEGER(s16, "H"), INTEGER(u32, "w"), INTEGER(s32, "W"),
    INTEGER(u64, "x"), INTEGER(s64, "X"), FLOAT(f16, "h"), FLOAT(f32, "w"), FLOAT(f64, "x"),
    {"cvt.whole.f16.f16", whole_f16, "hh", 0}, {"cvt.whole.f32.f32", whole_f32, "ww", 0},
    {"cvt.whole.f64.f64", whole_f64, "xx", 0}, {"cvt.f16x2.f32", f16x2_of_f32, "www", 0},
    {0}};
