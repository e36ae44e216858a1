/* Arithmetic, comparisons, selection and bits: one C function an instruction and type, made by macros. */
#include <math.h>
#include "machine.h"

#define UNARY(name, D, A, expression) \
  static void name(struct warp *w, const struct instruction *in) { \
    D *d = ROW(D, in->d); const A *x = ROW(A, in->a); \
    EACH(A a = x[i]; d[i] = (D)(expression)); \
  }
#define BINARY(name, D, A, B, expression) \
  static void name(struct warp *w, const struct instruction *in) { \
    D *d = ROW(D, in->d); const A *x = ROW(A, in->a); const B *y = ROW(B, in->b); \
    EACH(A a = x[i]; B b = y[i]; d[i] = (D)(expression)); \
  }
#define TERNARY(name, D, A, B, C, expression) \
  static void name(struct warp *w, const struct instruction *in) { \
    D *d = ROW(D, in->d); const A *x = ROW(A, in->a); const B *y = ROW(B, in->b); const C *z = ROW(C, in->c); \
    EACH(A a = x[i]; B b = y[i]; C c = z[i]; d[i] = (D)(expression)); \
  }

/* Each with the unsigned type U, whose overflow wraps, and the signed one S, of n bits. */
#define INTEGERS(n, U, S) \
  BINARY(add_##n, U, U, U, a + b) \
  BINARY(sub_##n, U, U, U, a - b) \
  BINARY(mul_##n, U, U, U, a * b) \
  TERNARY(mad_##n, U, U, U, U, a * b + c) \
  BINARY(div_u##n, U, U, U, b ? a / b : (U)-1) \
  BINARY(div_s##n, U, S, S, b == 0 ? (U)-1 : b == -1 ? (U)(0 - (U)a) : (U)(a / b)) \
  BINARY(rem_u##n, U, U, U, b ? a % b : a) \
  BINARY(rem_s##n, U, S, S, b == 0 ? (U)a : b == -1 ? 0 : (U)(a % b)) \
  BINARY(min_u##n, U, U, U, a < b ? a : b) \
  BINARY(min_s##n, S, S, S, a < b ? a : b) \
  BINARY(max_u##n, U, U, U, a > b ? a : b) \
  BINARY(max_s##n, S, S, S, a > b ? a : b) \
  UNARY(neg_##n, U, U, 0 - a) \
  UNARY(abs_##n, U, S, a < 0 ? 0 - (U)a : (U)a) \
  BINARY(and_##n, U, U, U, a & b) \
  BINARY(or_##n, U, U, U, a | b) \
  BINARY(xor_##n, U, U, U, a ^ b) \
  UNARY(not_##n, U, U, ~a) \
  UNARY(cnot_##n, U, U, a == 0) \
  BINARY(shl_##n, U, U, u32, b < n ? a << b : 0) \
  BINARY(shr_u##n, U, U, u32, b < n ? a >> b : 0) \
  BINARY(shr_s##n, S, S, u32, a >> (b < n ? b : n - 1)) \
  TERNARY(selp_##n, U, U, U, u8, c ? a : b) \
  UNARY(mov_##n, U, U, a)
INTEGERS(16, u16, s16)
INTEGERS(32, u32, s32)
INTEGERS(64, u64, s64)

typedef unsigned __int128 u128;
typedef __int128 s128;
#define HIGH(n, U, S, UU, SS) \
  BINARY(mulhi_u##n, U, U, U, (UU)a * b >> n) \
  BINARY(mulhi_s##n, U, S, S, (SS)a * b >> n) \
  TERNARY(madhi_u##n, U, U, U, U, (U)((UU)a * b >> n) + c) \
  TERNARY(madhi_s##n, U, S, S, U, (U)((SS)a * b >> n) + c)
HIGH(16, u16, s16, u32, s32)
HIGH(32, u32, s32, u64, s64)
HIGH(64, u64, s64, u128, s128)
#define WIDE(n, U, S, UU, SS) \
  BINARY(mulwide_u##n, UU, U, U, (UU)a * b) \
  BINARY(mulwide_s##n, SS, S, S, (SS)a * b) \
  TERNARY(madwide_u##n, UU, U, U, UU, (UU)a * b + c) \
  TERNARY(madwide_s##n, UU, S, S, UU, (UU)((SS)a * b) + c)
WIDE(16, u16, s16, u32, s32)
WIDE(32, u32, s32, u64, s64)

static inline s32 low_24(u32 a) { return (s32)(a << 8) >> 8; }
BINARY(mul24_s32, u32, u32, u32, (s64)low_24(a) * low_24(b))
BINARY(mul24_u32, u32, u32, u32, (u64)(a & 0xffffff) * (b & 0xffffff))
TERNARY(mad24_s32, u32, u32, u32, u32, (u32)((s64)low_24(a) * low_24(b)) + c)
TERNARY(mad24_u32, u32, u32, u32, u32, (u32)((u64)(a & 0xffffff) * (b & 0xffffff)) + c)
TERNARY(sad_u32, u32, u32, u32, u32, c + (a > b ? a - b : b - a))
TERNARY(sad_s32, u32, s32, s32, u32, c + (a > b ? (u32)a - (u32)b : (u32)b - (u32)a))

/* Carries: the flag is a row of its own, operand e. */
#define CARRIES(n, U, UU) \
  static void addcc_##n(struct warp *w, const struct instruction *in) { \
    U *d = ROW(U, in->d); const U *x = ROW(U, in->a), *y = ROW(U, in->b); u8 *carry = ROW(u8, in->e); \
    EACH(UU sum = (UU)x[i] + y[i] + (in->value & 1 ? carry[i] : 0); d[i] = (U)sum; \
         if (in->value & 2) carry[i] = (u8)(sum >> n)); \
  } \
  static void subcc_##n(struct warp *w, const struct instruction *in) { \
    U *d = ROW(U, in->d); const U *x = ROW(U, in->a), *y = ROW(U, in->b); u8 *carry = ROW(u8, in->e); \
    EACH(UU rest = (UU)x[i] - y[i] - (in->value & 1 ? carry[i] : 0); d[i] = (U)rest; \
         if (in->value & 2) carry[i] = (u8)(rest >> n & 1)); \
  }
CARRIES(32, u32, u64)
CARRIES(64, u64, u128)

#define FIELDS(n, U, S) \
  static inline U inserted_##n(U a, U b, u32 at, u32 width) { \
    at &= 255; width &= 255; \
    if (at >= n) return b; \
    U mask = (width < n ? ((U)1 << width) - 1 : (U)-1) << at; \
    return (b & ~mask) | (a << at & mask); \
  } \
  static inline U field_u##n(U a, u32 at, u32 width) { \
    at &= 255; width &= 255; \
    U rest = at < n ? a >> at : 0; \
    return width < n ? rest & (((U)1 << width) - 1) : rest; \
  } \
  static inline S field_s##n(S a, u32 at, u32 width) { \
    at &= 255; width &= 255; \
    if (!width) return 0; \
    S rest = a >> (at < n ? at : n - 1); \
    return width < n && at < n ? (S)((U)rest << (n - width)) >> (n - width) : rest; \
  } \
  static void bfi_##n(struct warp *w, const struct instruction *in) { \
    U *d = ROW(U, in->d); const U *a = ROW(U, in->a), *b = ROW(U, in->b); \
    const u32 *at = ROW(u32, in->c), *width = ROW(u32, in->e); \
    EACH(d[i] = inserted_##n(a[i], b[i], at[i], width[i])); \
  } \
  TERNARY(bfe_u##n, U, U, u32, u32, field_u##n(a, b, c)) \
  TERNARY(bfe_s##n, S, S, u32, u32, field_s##n(a, b, c))
FIELDS(32, u32, s32)
FIELDS(64, u64, s64)

static inline u32 permuted(u32 a, u32 b, u32 choice) {
  u64 both = (u64)b << 32 | a;
  u32 out = 0;
  for (int i = 0; i < 4; i++) {
    u32 pick = choice >> 4 * i & 15, byte = both >> 8 * (pick & 7) & 255;
    if (pick & 8) byte = byte & 128 ? 255 : 0;
    out |= byte << 8 * i;
  }
  return out;
}

static inline u64 reversed(u64 a, int n) {
  u64 out = 0;
  for (int i = 0; i < n; i++) out |= (a >> i & 1) << (n - 1 - i);
  return out;
}

static inline u32 truth(u32 a, u32 b, u32 c, u32 table) {
  u32 out = 0;
  for (int i = 0; i < 8; i++)
    if (table >> i & 1) out |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return out;
}

static inline u32 leading(u64 a, int shift) { return a ? 63 - __builtin_clzll(a) - shift : ~0u; }

TERNARY(prmt_32, u32, u32, u32, u32, permuted(a, b, c))
static inline u64 both(u32 a, u32 b) { return (u64)b << 32 | a; }
TERNARY(shf_l_wrap, u32, u32, u32, u32, both(a, b) << (c & 31) >> 32)
TERNARY(shf_r_wrap, u32, u32, u32, u32, both(a, b) >> (c & 31))
TERNARY(shf_l_clamp, u32, u32, u32, u32, c >= 32 ? a : both(a, b) << c >> 32)
TERNARY(shf_r_clamp, u32, u32, u32, u32, both(a, b) >> (c < 32 ? c : 32))
UNARY(popc_32, u32, u32, __builtin_popcount(a))
UNARY(popc_64, u32, u64, __builtin_popcountll(a))
UNARY(clz_32, u32, u32, a ? __builtin_clz(a) : 32)
UNARY(clz_64, u32, u64, a ? __builtin_clzll(a) : 64)
UNARY(bfind_u32, u32, u32, leading(a, 0))
UNARY(bfind_s32, u32, s32, leading((u32)(a < 0 ? ~a : a), 0))
UNARY(bfind_u64, u32, u64, leading(a, 0))
UNARY(bfind_s64, u32, s64, leading((u64)(a < 0 ? ~a : a), 0))
UNARY(brev_32, u32, u32, reversed(a, 32))
UNARY(brev_64, u64, u64, reversed(a, 64))

static void lop3_32(struct warp *w, const struct instruction *in) {
  u32 *d = ROW(u32, in->d);
  const u32 *a = ROW(u32, in->a), *b = ROW(u32, in->b), *c = ROW(u32, in->c), *table = ROW(u32, in->e);
  EACH(d[i] = truth(a[i], b[i], c[i], table[i]));
}

BINARY(and_pred, u8, u8, u8, a & b)
BINARY(or_pred, u8, u8, u8, a | b)
BINARY(xor_pred, u8, u8, u8, a ^ b)
UNARY(not_pred, u8, u8, !a)
UNARY(mov_pred, u8, u8, a)

#define COMPARED(type, T) \
  BINARY(eq_##type, u8, T, T, a == b) \
  BINARY(ne_##type, u8, T, T, a != b) \
  BINARY(lt_##type, u8, T, T, a < b) \
  BINARY(le_##type, u8, T, T, a <= b) \
  BINARY(gt_##type, u8, T, T, a > b) \
  BINARY(ge_##type, u8, T, T, a >= b)
COMPARED(u16, u16) COMPARED(u32, u32) COMPARED(u64, u64)
COMPARED(s16, s16) COMPARED(s32, s32) COMPARED(s64, s64)

/* Floats: "u" is true of a NaN too, and plain "ne" is not. */
#define COMPARED_FLOATS(type, T) \
  BINARY(eq_##type, u8, T, T, a == b) \
  BINARY(ne_##type, u8, T, T, a < b || a > b) \
  BINARY(lt_##type, u8, T, T, a < b) \
  BINARY(le_##type, u8, T, T, a <= b) \
  BINARY(gt_##type, u8, T, T, a > b) \
  BINARY(ge_##type, u8, T, T, a >= b) \
  BINARY(equ_##type, u8, T, T, !(a < b || a > b)) \
  BINARY(neu_##type, u8, T, T, a != b) \
  BINARY(ltu_##type, u8, T, T, !(a >= b)) \
  BINARY(leu_##type, u8, T, T, !(a > b)) \
  BINARY(gtu_##type, u8, T, T, !(a <= b)) \
  BINARY(geu_##type, u8, T, T, !(a < b)) \
  BINARY(num_##type, u8, T, T, a == a && b == b) \
  BINARY(nan_##type, u8, T, T, a != a || b != b)
COMPARED_FLOATS(f16, f16)
COMPARED_FLOATS(f32, f32)
COMPARED_FLOATS(f64, f64)

/* The smaller or larger; of a NaN and a number the number, and -0 is below +0. */
#define EXTREMES(type, T) \
  static inline T least_##type(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b; } \
  static inline T most_##type(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b; }
EXTREMES(f16, f16)
EXTREMES(f32, f32)
EXTREMES(f64, f64)

#define FLOATS(type, T, FMA, ABS, COPYSIGN) \
  BINARY(add_##type, T, T, T, a + b) \
  BINARY(sub_##type, T, T, T, a - b) \
  BINARY(mul_##type, T, T, T, a * b) \
  BINARY(div_##type, T, T, T, a / b) \
  TERNARY(fma_##type, T, T, T, T, FMA(a, b, c)) \
  UNARY(neg_##type, T, T, -a) \
  UNARY(abs_##type, T, T, ABS(a)) \
  BINARY(min_##type, T, T, T, least_##type(a, b)) \
  BINARY(max_##type, T, T, T, most_##type(a, b)) \
  BINARY(min_nan_##type, T, T, T, a != a || b != b ? (T)NAN : least_##type(a, b)) \
  BINARY(max_nan_##type, T, T, T, a != a || b != b ? (T)NAN : most_##type(a, b)) \
  BINARY(copysign_##type, T, T, T, COPYSIGN(b, a)) \
  UNARY(saturated_##type, T, T, a > 0 ? (a < 1 ? a : 1) : 0)
static inline f16 fma_half(f16 a, f16 b, f16 c) { return (f16)fma((double)a, (double)b, (double)c); }
static inline f16 abs_half(f16 a) { return (f16)fabsf((float)a); }
static inline f16 copysign_half(f16 a, f16 b) { return (f16)copysignf((float)a, (float)b); }
FLOATS(f16, f16, fma_half, abs_half, copysign_half)
FLOATS(f32, f32, fmaf, fabsf, copysignf)
FLOATS(f64, f64, fma, fabs, copysign)

/* Two halves in 32 bits. */
typedef struct { f16 low, high; } f16x2;
#define PAIRS(name, expression) \
  static void name##_f16x2(struct warp *w, const struct instruction *in) { \
    f16 *d = ROW(f16, in->d); const f16 *x = ROW(f16, in->a), *y = ROW(f16, in->b), *z = ROW(f16, in->c); \
    EACH(for (int k = 2 * i; k < 2 * i + 2; k++) { \
      f16 a = x[k]; f16 b = y[k]; f16 c = z[k]; (void)b; (void)c; d[k] = (f16)(expression); }); \
  }
PAIRS(add, a + b) PAIRS(sub, a - b) PAIRS(mul, a * b) PAIRS(fma, fma_half(a, b, c)) PAIRS(neg, -a) PAIRS(abs, abs_half(a))
PAIRS(min, least_f16(a, b)) PAIRS(max, most_f16(a, b))

/* NVIDIA's approximations are taken as exact. */
UNARY(rcp_f32, f32, f32, 1 / a)
UNARY(rcp_f64, f64, f64, 1 / a)
UNARY(sqrt_f32, f32, f32, sqrtf(a))
UNARY(sqrt_f64, f64, f64, sqrt(a))
UNARY(rsqrt_f32, f32, f32, 1 / sqrt((f64)a))
UNARY(rsqrt_f64, f64, f64, 1 / sqrt(a))
UNARY(sin_f32, f32, f32, sin((f64)a))
UNARY(cos_f32, f32, f32, cos((f64)a))
UNARY(ex2_f32, f32, f32, exp2((f64)a))
UNARY(lg2_f32, f32, f32, log2((f64)a))
UNARY(tanh_f32, f32, f32, tanh((f64)a))
UNARY(tanh_f16, f16, f16, tanh((f64)a))
UNARY(ex2_f16, f16, f16, exp2((f64)a))

/* Denormal numbers to zero. */
UNARY(flush_f32, f32, f32, fabsf(a) < 0x1p-126f ? copysignf(0, a) : a)

#define TESTS(type) \
  UNARY(testp_finite_##type, u8, type, isfinite(a)) \
  UNARY(testp_infinite_##type, u8, type, isinf(a) != 0) \
  UNARY(testp_number_##type, u8, type, a == a) \
  UNARY(testp_notanumber_##type, u8, type, a != a) \
  UNARY(testp_normal_##type, u8, type, isnormal(a)) \
  UNARY(testp_subnormal_##type, u8, type, a != 0 && isfinite(a) && !isnormal(a))
TESTS(f32)
TESTS(f64)

#define UP_TO_64(name, operands16, operands32, operands64) \
  {#name ".b16", name##_16, operands16, 0}, {#name ".b32", name##_32, operands32, 0}, \
  {#name ".b64", name##_64, operands64, 0}
#define SIGNLESS(name, text, operands16, operands32, operands64) \
  {text ".u16", name##_16, operands16, 0}, {text ".s16", name##_16, operands16, 0}, \
  {text ".u32", name##_32, operands32, 0}, {text ".s32", name##_32, operands32, 0}, \
  {text ".u64", name##_64, operands64, 0}, {text ".s64", name##_64, operands64, 0}
#define SIGNED(name, text, operands16, operands32, operands64) \
  {text ".u16", name##_u16, operands16, 0}, {text ".s16", name##_s16, operands16, 0}, \
  {text ".u32", name##_u32, operands32, 0}, {text ".s32", name##_s32, operands32, 0}, \
  {text ".u64", name##_u64, operands64, 0}, {text ".s64", name##_s64, operands64, 0}
#define IN_FLOATS(name, operands16, operands32, operands64, flop) \
  {#name ".f16", name##_f16, operands16, flop}, {#name ".f32", name##_f32, operands32, flop}, \
  {#name ".f64", name##_f64, operands64, flop}
#define COMPARES(compare) \
  {"setp." #compare ".u16", compare##_u16, "phh", 0}, {"setp." #compare ".s16", compare##_s16, "phh", 0}, \
  {"setp." #compare ".u32", compare##_u32, "pww", 0}, {"setp." #compare ".s32", compare##_s32, "pww", 0}, \
  {"setp." #compare ".u64", compare##_u64, "pxx", 0}, {"setp." #compare ".s64", compare##_s64, "pxx", 0}, \
  COMPARES_FLOATS(compare)
#define COMPARES_FLOATS(compare) \
  {"setp." #compare ".f16", compare##_f16, "phh", 0}, {"setp." #compare ".f32", compare##_f32, "pww", 0}, \
  {"setp." #compare ".f64", compare##_f64, "pxx", 0}
#define TESTED(test) \
  {"testp." #test ".f32", testp_##test##_f32, "pw", 0}, {"testp." #test ".f64", testp_##test##_f64, "px", 0}

const struct entry arithmetic_entries[] = {
    SIGNLESS(add, "add", "hhh", "www", "xxx"), SIGNLESS(sub, "sub", "hhh", "www", "xxx"),
    SIGNLESS(mul, "mul.lo", "hhh", "www", "xxx"), SIGNLESS(mad, "mad.lo", "hhhh", "wwww", "xxxx"),
    SIGNED(mulhi, "mul.hi", "hhh", "www", "xxx"), SIGNED(madhi, "mad.hi", "hhhh", "wwww", "xxxx"),
    SIGNED(div, "div", "hhh", "www", "xxx"), SIGNED(rem, "rem", "hhh", "www", "xxx"),
    SIGNED(min, "min", "hhh", "www", "xxx"), SIGNED(max, "max", "hhh", "www", "xxx"),
    SIGNED(shr, "shr", "hhw", "www", "xxw"), SIGNLESS(neg, "neg", "hh", "ww", "xx"),
    SIGNLESS(abs, "abs", "hh", "ww", "xx"), SIGNLESS(mov, "mov", "hh", "ww", "xx"),
    SIGNLESS(selp, "selp", "hhhp", "wwwp", "xxxp"),
    UP_TO_64(and, "hhh", "www", "xxx"), UP_TO_64(or, "hhh", "www", "xxx"), UP_TO_64(xor, "hhh", "www", "xxx"),
    UP_TO_64(not, "hh", "ww", "xx"), UP_TO_64(cnot, "hh", "ww", "xx"), UP_TO_64(shl, "hhw", "www", "xxw"),
    UP_TO_64(mov, "hh", "ww", "xx"), UP_TO_64(selp, "hhhp", "wwwp", "xxxp"),
    {"mul.wide.u16", mulwide_u16, "whh", 0}, {"mul.wide.s16", mulwide_s16, "whh", 0},
    {"mul.wide.u32", mulwide_u32, "xww", 0}, {"mul.wide.s32", mulwide_s32, "xww", 0},
    {"mad.wide.u16", madwide_u16, "whhw", 0}, {"mad.wide.s16", madwide_s16, "whhw", 0},
    {"mad.wide.u32", madwide_u32, "xwwx", 0}, {"mad.wide.s32", madwide_s32, "xwwx", 0},
    {"mul24.lo.u32", mul24_u32, "www", 0}, {"mul24.lo.s32", mul24_s32, "www", 0},
    {"mad24.lo.u32", mad24_u32, "wwww", 0}, {"mad24.lo.s32", mad24_s32, "wwww", 0},
    {"sad.u32", sad_u32, "wwww", 0}, {"sad.s32", sad_s32, "wwww", 0},
    {"add.carry.32", addcc_32, "www", 0}, {"add.carry.64", addcc_64, "xxx", 0},
    {"sub.carry.32", subcc_32, "www", 0}, {"sub.carry.64", subcc_64, "xxx", 0},
    {"bfi.b32", bfi_32, "wwwww", 0}, {"bfi.b64", bfi_64, "xxxww", 0},
    {"bfe.u32", bfe_u32, "wwww", 0}, {"bfe.s32", bfe_s32, "wwww", 0},
    {"bfe.u64", bfe_u64, "xxww", 0}, {"bfe.s64", bfe_s64, "xxww", 0},
    {"prmt.b32", prmt_32, "wwww", 0}, {"lop3.b32", lop3_32, "wwwww", 0},
    {"shf.l.wrap.b32", shf_l_wrap, "wwww", 0}, {"shf.r.wrap.b32", shf_r_wrap, "wwww", 0},
    {"shf.l.clamp.b32", shf_l_clamp, "wwww", 0}, {"shf.r.clamp.b32", shf_r_clamp, "wwww", 0},
    {"popc.b32", popc_32, "ww", 0}, {"popc.b64", popc_64, "wx", 0},
    {"clz.b32", clz_32, "ww", 0}, {"clz.b64", clz_64, "wx", 0},
    {"bfind.u32", bfind_u32, "ww", 0}, {"bfind.s32", bfind_s32, "ww", 0},
    {"bfind.u64", bfind_u64, "wx", 0}, {"bfind.s64", bfind_s64, "wx", 0},
    {"brev.b32", brev_32, "ww", 0}, {"brev.b64", brev_64, "xx", 0},
    {"and.pred", and_pred, "ppp", 0}, {"or.pred", or_pred, "ppp", 0}, {"xor.pred", xor_pred, "ppp", 0},
    {"not.pred", not_pred, "pp", 0}, {"mov.pred", mov_pred, "pp", 0},
    {"mov.f16", mov_16, "hh", 0}, {"mov.f32", mov_32, "ww", 0}, {"mov.f64", mov_64, "xx", 0},
    {"selp.f16", selp_16, "hhhp", 0}, {"selp.f32", selp_32, "wwwp", 0}, {"selp.f64", selp_64, "xxxp", 0},
    COMPARES(eq), COMPARES(ne), COMPARES(lt), COMPARES(le), COMPARES(gt), COMPARES(ge),
    {"setp.lo.u16", lt_u16, "phh", 0}, {"setp.ls.u16", le_u16, "phh", 0}, {"setp.hi.u16", gt_u16, "phh", 0},
    {"setp.hs.u16", ge_u16, "phh", 0}, {"setp.lo.u32", lt_u32, "pww", 0}, {"setp.ls.u32", le_u32, "pww", 0},
    {"setp.hi.u32", gt_u32, "pww", 0}, {"setp.hs.u32", ge_u32, "pww", 0}, {"setp.lo.u64", lt_u64, "pxx", 0},
    {"setp.ls.u64", le_u64, "pxx", 0}, {"setp.hi.u64", gt_u64, "pxx", 0}, {"setp.hs.u64", ge_u64, "pxx", 0},
    {"setp.eq.b16", eq_u16, "phh", 0}, {"setp.ne.b16", ne_u16, "phh", 0}, {"setp.eq.b32", eq_u32, "pww", 0},
    {"setp.ne.b32", ne_u32, "pww", 0}, {"setp.eq.b64", eq_u64, "pxx", 0}, {"setp.ne.b64", ne_u64, "pxx", 0},
    COMPARES_FLOATS(equ), COMPARES_FLOATS(neu), COMPARES_FLOATS(ltu), COMPARES_FLOATS(leu), COMPARES_FLOATS(gtu),
    COMPARES_FLOATS(geu), COMPARES_FLOATS(num), COMPARES_FLOATS(nan),
    IN_FLOATS(add, "hhh", "www", "xxx", 1), IN_FLOATS(sub, "hhh", "www", "xxx", 1),
    IN_FLOATS(mul, "hhh", "www", "xxx", 1), IN_FLOATS(div, "hhh", "www", "xxx", 1),
    IN_FLOATS(fma, "hhhh", "wwww", "xxxx", 2), IN_FLOATS(neg, "hh", "ww", "xx", 0),
    IN_FLOATS(abs, "hh", "ww", "xx", 0), IN_FLOATS(min, "hhh", "www", "xxx", 1),
    IN_FLOATS(max, "hhh", "www", "xxx", 1), IN_FLOATS(copysign, "hhh", "www", "xxx", 0),
    IN_FLOATS(saturated, "hh", "ww", "xx", 0),
    {"min.NaN.f16", min_nan_f16, "hhh", 1}, {"min.NaN.f32", min_nan_f32, "www", 1},
    {"min.NaN.f64", min_nan_f64, "xxx", 1}, {"max.NaN.f16", max_nan_f16, "hhh", 1},
    {"max.NaN.f32", max_nan_f32, "www", 1}, {"max.NaN.f64", max_nan_f64, "xxx", 1},
    {"mad.f32", fma_f32, "wwww", 2}, {"mad.f64", fma_f64, "xxxx", 2},
    {"add.f16x2", add_f16x2, "www", 2}, {"sub.f16x2", sub_f16x2, "www", 2}, {"mul.f16x2", mul_f16x2, "www", 2},
    {"fma.f16x2", fma_f16x2, "wwww", 4}, {"neg.f16x2", neg_f16x2, "ww", 0}, {"abs.f16x2", abs_f16x2, "ww", 0},
    {"min.f16x2", min_f16x2, "www", 2}, {"max.f16x2", max_f16x2, "www", 2},
    {"rcp.f32", rcp_f32, "ww", 1}, {"rcp.f64", rcp_f64, "xx", 1}, {"sqrt.f32", sqrt_f32, "ww", 1},
    {"sqrt.f64", sqrt_f64, "xx", 1}, {"rsqrt.f32", rsqrt_f32, "ww", 1}, {"rsqrt.f64", rsqrt_f64, "xx", 1},
    {"sin.f32", sin_f32, "ww", 1}, {"cos.f32", cos_f32, "ww", 1}, {"ex2.f32", ex2_f32, "ww", 1},
    {"lg2.f32", lg2_f32, "ww", 1}, {"tanh.f32", tanh_f32, "ww", 1}, {"tanh.f16", tanh_f16, "hh", 1},
    {"ex2.f16", ex2_f16, "hh", 1}, {"flush.f32", flush_f32, "ww", 0},
    TESTED(finite), TESTED(infinite), TESTED(number), TESTED(notanumber), TESTED(normal), TESTED(subnormal),
    {0}};
