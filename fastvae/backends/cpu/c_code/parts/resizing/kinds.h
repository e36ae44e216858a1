/* The Ops of this part. */
KIND(bilinear_upsample)
KIND(bilinear_upsample_gradient)
KIND(pool)
KIND(pool_gradient)
