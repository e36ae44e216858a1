/* The Ops of this backend, a line each: KIND(name) for what a C file defines as `const op_kind name_kind`. */
KIND(adam)
KIND(convolution)
