/* Elementary functions of float32 for vector code: no branches, no tables, no calls, at most 2 units in the last place
 * (fv_erfc: 4) from the exact value. A value's result depends on nothing but the value: not on where it lies in memory,
 * on its neighbours or on the number of threads. NaN stays NaN, infinities have their limits, denormal numbers survive.
 *
 * Every operation rounds by itself (fma where written), which flags that let the compiler reorder sums would break.
 * The coefficients are minimax polynomials of exp and log1p, fitted to relative error 2^-30 and rounded to float32. */
#ifndef FASTVAE_ELEMENTARY_H
#define FASTVAE_ELEMENTARY_H

#if defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "elementary.h needs every operation as written: no -ffast-math, -fassociative-math or -freciprocal-math"
#endif

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FV_INLINE static inline __attribute__((always_inline))

#define FV_LOG2_E 1.44269502f
#define FV_LN2_HI 0.693147182f
#define FV_LN2_LO -1.90465421e-9f
#define FV_ROUND 12582912.f /* 1.5 * 2^23: x + this - this is x rounded to an integer, which its bits hold */

FV_INLINE uint32_t fv_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FV_INLINE float fv_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FV_INLINE float fv_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/* 2^n for n in -126..127. */
FV_INLINE float fv_power_of_2(int32_t n) { return fv_float((uint32_t)(n + 127) << 23); }

/* x = n log 2 + r with |r| <= log(2) / 2: exp(r) - 1, and n. |x| below 2^21. */
FV_INLINE float fv_reduced_expm1(float x, int32_t *n) {
    float shifted = fv_fma(x, FV_LOG2_E, FV_ROUND), whole = shifted - FV_ROUND;
    *n = (int32_t)(fv_bits(shifted) - fv_bits(FV_ROUND));
    float r = fv_fma(whole, -FV_LN2_LO, fv_fma(whole, -FV_LN2_HI, x));
    float p = 0.000198458825f;
    p = fv_fma(p, r, 0.00139406684f);
    p = fv_fma(p, r, 0.00833338965f);
    p = fv_fma(p, r, 0.0416663587f);
    p = fv_fma(p, r, 0.166666657f);
    p = fv_fma(p, r, 0.5f);
    return fv_fma(r * r, p, r);
}

/* log(1 + f) for f from sqrt(1/2) - 1 to sqrt(2) - 1. */
FV_INLINE float fv_reduced_log1p(float f) {
    float p = 0.0672735497f;
    p = fv_fma(p, f, -0.116797753f);
    p = fv_fma(p, f, 0.119019650f);
    p = fv_fma(p, f, -0.124068312f);
    p = fv_fma(p, f, 0.142174885f);
    p = fv_fma(p, f, -0.166677088f);
    p = fv_fma(p, f, 0.200022295f);
    p = fv_fma(p, f, -0.250000268f);
    p = fv_fma(p, f, 0.333333105f);
    p = fv_fma(p, f, -0.5f);
    return fv_fma(f * f, p, f);
}

/* x = 2^n m with m from sqrt(1/2) to sqrt(2), for normal x above 0: m - 1, and n. */
FV_INLINE float fv_mantissa_less_1(float x, int32_t *n) {
    uint32_t bits = fv_bits(x);
    *n = (int32_t)(bits - fv_bits(0.707106769f)) >> 23;
    return fv_float(bits - ((uint32_t)*n << 23)) - 1.f;
}

FV_INLINE float fv_plus_n_log_2(float y, int32_t n) {
    float whole = (float)n;
    return fv_fma(whole, FV_LN2_HI, fv_fma(whole, FV_LN2_LO, y));
}

FV_INLINE float fv_exp(float x) {
    x = x > 89.f ? 89.f : x; /* comparisons that leave NaN alone */
    x = x < -104.f ? -104.f : x;
    int32_t n;
    float y = 1.f + fv_reduced_expm1(x, &n);
    int32_t half = n >> 1; /* 2^n itself may be no normal number */
    return y * fv_power_of_2(half) * fv_power_of_2(n - half);
}

FV_INLINE float fv_expm1(float x) {
    x = x > 89.f ? 89.f : x;
    x = x < -30.f ? -30.f : x;
    int32_t n;
    float y = fv_reduced_expm1(x, &n), half = fv_power_of_2(n - 1);
    return 2.f * fv_fma(half, y, half - 0.5f);
}

/* exp(x), and exp(x) - 1 without what subtracting would lose, for x up to 0. */
FV_INLINE float fv_exp_and_expm1(float x, float *less_1) {
    x = x < -104.f ? -104.f : x;
    int32_t n;
    float y = fv_reduced_expm1(x, &n);
    int32_t half = n >> 1;
    float power = fv_power_of_2(half) * fv_power_of_2(n - half); /* 2^n, which fv_power_of_2 alone may not reach */
    *less_1 = fv_fma(power, y, power - 1.f);
    return fv_fma(power, y, power);
}

FV_INLINE float fv_log(float x) {
    int tiny = x < 1.17549435e-38f;
    float normal = tiny ? x * 8388608.f : x;
    int32_t n;
    float f = fv_mantissa_less_1(normal, &n);
    float y = fv_plus_n_log_2(fv_reduced_log1p(f), n - (tiny ? 23 : 0));
    y = x < INFINITY ? y : x; /* infinity and NaN */
    return x > 0.f ? y : x == 0.f ? -INFINITY : x < 0.f ? NAN : x;
}

FV_INLINE float fv_log1p(float x) {
    float u = 1.f + x, rest = u - 1.f;
    float lost = (1.f - (u - rest)) + (x - rest); /* u + lost is 1 + x exactly */
    int32_t n;
    float f = fv_mantissa_less_1(u, &n);
    /* where n is small enough for it to matter, what was lost has n's factor too */
    f = n == 0 ? x : f + lost * fv_power_of_2(n > 60 ? -60 : -n);
    float y = fv_plus_n_log_2(fv_reduced_log1p(f), n);
    y = x < INFINITY ? y : x;
    return x > -1.f ? y : x == -1.f ? -INFINITY : x < -1.f ? NAN : x;
}

/* e = exp(-|x|) is at most 1 for each of these. */
FV_INLINE float fv_sigmoid(float x) {
    float e = fv_exp(-fabsf(x));
    return (x >= 0.f ? 1.f : e) / (1.f + e);
}

FV_INLINE float fv_softplus(float x) { return (x > 0.f ? x : 0.f) + fv_log1p(fv_exp(-fabsf(x))); }

FV_INLINE float fv_tanh(float x) {
    float t = fv_expm1(-2.f * fabsf(x));
    return copysignf(t / (2.f + t), x);
}

/* exp(x^2) erfc(x) for x from 0 to 10.2. */
FV_INLINE float fv_scaled_erfc(float x) {
    float t = (x - 3.f) / (x + 3.f);
    float p = 5.59158943e-05f;
    p = fv_fma(p, t, 2.88802767e-05f);
    p = fv_fma(p, t, -0.000594569487f);
    p = fv_fma(p, t, 0.000715731119f);
    p = fv_fma(p, t, 0.00426887628f);
    p = fv_fma(p, t, -0.0243942309f);
    p = fv_fma(p, t, 0.0716658607f);
    p = fv_fma(p, t, -0.150115788f);
    p = fv_fma(p, t, 0.2456038f);
    p = fv_fma(p, t, -0.326233566f);
    p = fv_fma(p, t, 0.179001153f);
    return p;
}

/* erf(x) for |x| up to 1. */
FV_INLINE float fv_near_erf(float x) {
    float square = x * x;
    float p = 7.85386146e-05f;
    p = fv_fma(p, square, -0.000801019371f);
    p = fv_fma(p, square, 0.00518832775f);
    p = fv_fma(p, square, -0.0268538129f);
    p = fv_fma(p, square, 0.112835854f);
    p = fv_fma(p, square, -0.37612626f);
    p = fv_fma(p, square, 0.128379166f);
    return fv_fma(x, p, x);
}

/* erfc(x) is exp(-x^2) times fv_scaled_erfc above 1/2; below -1/2 it is 2 less that of -x. */
FV_INLINE float fv_erfc(float x) {
    float a = fabsf(x) > 10.2f ? 10.2f : fabsf(x), square = a * a;
    float e = fv_exp(-square);
    e = fv_fma(-fv_fma(a, a, -square), e, e); /* what squaring lost */
    float upper = a > 10.0541945f ? 0.f : e * fv_scaled_erfc(a); /* there it rounds to 0 */
    return a < 0.5f ? 1.f - fv_near_erf(x) : x < 0.f ? 2.f - upper : upper;
}

FV_INLINE float fv_erf(float x) {
    float far = copysignf(1.f - fv_erfc(fabsf(x)), x);
    return fabsf(x) < 1.f ? fv_near_erf(x) : far;
}

#endif
