/* The numbers that cuBLAS and cuDNN compute with: read as double, summed as double, and rounded to the operands' type when
   they are stored. Under TF32 float operands are first rounded to 10 bits of mantissa, to nearest and ties away from zero,
   as PTX's cvt.rna.tf32.f32 does; where half precision is allowed instead, to nearest and ties to even. */
#ifndef REALS_H
#define REALS_H
#include <stdint.h>
#include <string.h>

enum real { FLOAT, DOUBLE, HALF }; /* numbered as cuDNN does */
enum rounding { IN_FULL, TO_TF32, TO_HALF };

static inline size_t real_size(enum real type) { return type == DOUBLE ? 8 : type == FLOAT ? 4 : 2; }

static inline float to_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits >> 23 & 0xff) == 0xff) return x; /* infinite, or NaN */
  bits = (bits + 0x1000) & ~0x1fffu;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline double rounded(double x, enum rounding rounding) {
  return rounding == TO_TF32 ? to_tf32(x) : rounding == TO_HALF ? (double)(_Float16)x : x;
}

static inline double real_at(enum real type, const void *data, long i) {
  return type == FLOAT ? ((const float *)data)[i] : type == DOUBLE ? ((const double *)data)[i]
                                                                   : (double)((const _Float16 *)data)[i];
}

static inline void set_real(enum real type, void *data, long i, double value) {
  if (type == FLOAT) ((float *)data)[i] = value;
  else if (type == DOUBLE) ((double *)data)[i] = value;
  else ((_Float16 *)data)[i] = value;
}
#endif
