/* Activations within kernels: `activated(kind, p0, p1, z)` and `slope(kind, p0, p1, p2, z)`. */
#ifndef FASTVAE_GPU_ACTIVATIONS_H
#define FASTVAE_GPU_ACTIVATIONS_H

extern const char fv_activations[];

typedef struct {
    unsigned int kind; /* 0: none */
    float p[3];
} fv_activation;

/* The four numbers that `activations.settings` of Python gives. */
void fv_read_activation(const double *settings, fv_activation *to);

#endif
