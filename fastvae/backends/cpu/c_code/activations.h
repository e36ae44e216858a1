/* Activations and their slopes, for vector code; elementary.h comes first. `kind` is to be a constant where they are
 * inlined: activations.c has loops for a kind that is known at run time only.
 *
 * At most 8 units in the last place from the exact value; FV_GELU_TANH and FV_SWISH below 0, where they are an
 * exponential of a rounded number, by as many as that number is large. NaN stays NaN. */
#ifndef FASTVAE_ACTIVATIONS_H
#define FASTVAE_ACTIVATIONS_H

/* As in fastvae.backends.abstract.activations, whose `CODES` these are. Behind each kind its parameters, and what its
 * slope comes from: the output y, or the argument x. */
enum {
    FV_NO_ACTIVATION,
    FV_RELU,        /* y */
    FV_SIGMOID,     /* y */
    FV_TANH,        /* y */
    FV_SOFTPLUS,    /* x */
    FV_LEAKY_RELU,  /* alpha, slope at 0, slope at NaN; y */
    FV_SIGNED_RELU, /* slope at 0, slope at NaN; y: -0 stands for a negative argument */
    FV_ELU,         /* alpha, scale; y */
    FV_GELU,        /* x */
    FV_GELU_TANH,   /* x */
    FV_SWISH,       /* beta; x */
    FV_CLIP,        /* lower and upper bound; x */
    FV_ACTIVATIONS
};

typedef struct {
    int kind;
    float p[3];
} fv_activation;

/* Whether a kind's slope comes from the output. */
FV_INLINE int fv_from_output(int kind) {
    return kind <= FV_TANH || (kind >= FV_LEAKY_RELU && kind <= FV_ELU);
}

/* The standard Normal distribution function of x, and exp(-x^2 / 2). Of -|x| it is exp(-x^2 / 2) erfcx(|x| / sqrt(2))
 * / 2, the second factor a polynomial of (|x| - 3) / (|x| + 3), fitted to relative error 1e-8. */
FV_INLINE float fv_normal_cdf(float x, float *density) {
    float a = fabsf(x) > 15.f ? 15.f : fabsf(x), square = a * a, lost = fv_fma(a, a, -square);
    float e = fv_exp(-0.5f * square), t = (a - 3.f) / (a + 3.f);
    e = fv_fma(-0.5f * lost, e, e);
    float p = 5.31614824e-05f;
    p = fv_fma(p, t, 0.000115013849f);
    p = fv_fma(p, t, -0.00033901236f);
    p = fv_fma(p, t, -0.000983288512f);
    p = fv_fma(p, t, 0.00290438719f);
    p = fv_fma(p, t, 0.00613194238f);
    p = fv_fma(p, t, -0.0462132618f);
    p = fv_fma(p, t, 0.123225041f);
    p = fv_fma(p, t, -0.206402615f);
    p = fv_fma(p, t, 0.121513948f);
    *density = e;
    return x > 0.f ? fv_fma(-e, p, 1.f) : e * p;
}

#define FV_GELU_SLOPE 0.797884561f /* sqrt(2 / pi) */
#define FV_GELU_CUBE 0.044715f

/* The value at x. */
FV_INLINE float fv_activate(int kind, const float *p, float x) {
    float density;
    switch (kind) {
        case FV_RELU: return x > 0.f ? x : 0.f * x;
        case FV_SIGMOID: return fv_sigmoid(x);
        case FV_TANH: return fv_tanh(x);
        case FV_SOFTPLUS: return fv_softplus(x);
        case FV_LEAKY_RELU: return x > 0.f ? x : p[0] * x;
        case FV_SIGNED_RELU: return x > 0.f || x != x ? x : fv_float((uint32_t)(x < 0.f) << 31);
        case FV_ELU: return x > 0.f ? p[1] * x : p[1] * p[0] * fv_expm1(x);
        case FV_GELU: return x * fv_normal_cdf(x, &density);
        case FV_GELU_TANH: return x * fv_sigmoid(2.f * FV_GELU_SLOPE * fv_fma(FV_GELU_CUBE * x * x, x, x));
        case FV_SWISH: return x * fv_sigmoid(p[0] * x);
        case FV_CLIP: return x < p[0] ? p[0] : x > p[1] ? p[1] : x;
        default: return x;
    }
}

/* The slope, from the output where `fv_from_output(kind)`, else from x. */
FV_INLINE float fv_slope(int kind, const float *p, float source) {
    float s = source, t, u;
    switch (kind) {
        case FV_RELU: return s > 0.f ? 1.f : 0.f;
        case FV_SIGMOID: return s * (1.f - s);
        case FV_TANH: return 1.f - s * s;
        case FV_SOFTPLUS: return fv_sigmoid(s);
        case FV_LEAKY_RELU: return s > 0.f ? 1.f : s < 0.f ? p[0] : s == 0.f ? p[1] : p[2];
        case FV_SIGNED_RELU: return s > 0.f ? 1.f : s != s ? p[1] : fv_bits(s) >> 31 ? 0.f : p[0];
        case FV_ELU: return s > 0.f ? p[1] : fv_fma(p[1], p[0], s);
        case FV_GELU: t = fv_normal_cdf(s, &u); return fv_fma(0.398942280f * s, u, t);
        case FV_GELU_TANH:
            t = fv_sigmoid(2.f * FV_GELU_SLOPE * fv_fma(FV_GELU_CUBE * s * s, s, s));
            s = s > 50.f ? 50.f : s < -50.f ? -50.f : s; /* t is 0 or 1 beyond, and s^3 would overflow */
            u = 2.f * FV_GELU_SLOPE * fv_fma(3.f * FV_GELU_CUBE * s, s, 1.f);
            return fv_fma(s * u, t * (1.f - t), t);
        case FV_SWISH:
            s *= p[0], t = fv_sigmoid(s);
            s = s > 200.f ? 200.f : s < -200.f ? -200.f : s; /* t is 0 or 1 beyond, and s may be infinite */
            return fv_fma(s, t * (1.f - t), t);
        case FV_CLIP: return s >= p[0] && s <= p[1] ? 1.f : 0.f;
        default: return 1.f;
    }
}

#endif
