/* The Ops of this part. */
KIND(convolution)
