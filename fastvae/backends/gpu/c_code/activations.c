/* Activations and their slopes, of the argument z, within a kernel. */
#include "activations.h"

/* Kinds and parameters are those of fastvae.backends.abstract.activations.KINDS. */
const char fv_activations[] = R"(
WITHIN_KERNEL float sigmoid(const float z) { return 1.f / (1.f + exp(-z)); }

WITHIN_KERNEL float normal_cdf(const float z) { return 0.5f * (1.f + erf(0.70710678f * z)); }

WITHIN_KERNEL float gelu_tanh(const float z) { return tanh(0.79788456f * (z + 0.044715f * z * z * z)); }

WITHIN_KERNEL float activated(const ga_uint kind, const float p0, const float p1, const float z) {
    switch (kind) {
    case 1: return z < 0.f ? 0.f : z;                                          /* ReLU */
    case 2: return sigmoid(z);
    case 3: return tanh(z);
    case 4: return z > 14.f ? z : log1p(exp(z));                               /* softplus */
    case 5: return z > 0.f ? z : p0 * z;                                       /* leaky ReLU */
    case 6: return z > 0.f || z != z ? z : z < 0.f ? -0.f : 0.f;               /* signed ReLU */
    case 7: return z > 0.f ? p1 * z : p1 * p0 * expm1(z);                      /* ELU */
    case 8: return z * normal_cdf(z);                                          /* GELU */
    case 9: return 0.5f * z * (1.f + gelu_tanh(z));                            /* its approximation by tanh */
    case 10: return z * sigmoid(p0 * z);                                       /* Swish */
    case 11: return z < p0 ? p0 : z > p1 ? p1 : z;                             /* clip */
    default: return z;
    }
}

WITHIN_KERNEL float slope(const ga_uint kind, const float p0, const float p1, const float p2, const float z) {
    float s;
    switch (kind) {
    case 1: return z > 0.f ? 1.f : 0.f;
    case 2: s = sigmoid(z); return s * (1.f - s);
    case 3: s = tanh(z); return 1.f - s * s;
    case 4: return sigmoid(z);
    case 5: return z > 0.f ? 1.f : z < 0.f ? p0 : z == 0.f ? p1 : p2;
    case 6: return z > 0.f ? 1.f : z < 0.f ? 0.f : z == 0.f ? p0 : p1;
    case 7: return z > 0.f ? p1 : p1 * p0 * exp(z);
    case 8: return normal_cdf(z) + 0.39894228f * z * exp(-0.5f * z * z);
    case 9: s = gelu_tanh(z);
            return 0.5f * (1.f + s) + 0.5f * z * (1.f - s * s) * 0.79788456f * (1.f + 0.134145f * z * z);
    case 10: s = sigmoid(p0 * z); return s + p0 * z * s * (1.f - s);
    case 11: return z >= p0 && z <= p1 ? 1.f : 0.f;
    default: return 1.f;
    }
}
)";

void fv_read_activation(const double *settings, fv_activation *to) {
    to->kind = (unsigned int)settings[0];
    for (int i = 0; i < 3; i++) to->p[i] = (float)settings[1 + i];
}
