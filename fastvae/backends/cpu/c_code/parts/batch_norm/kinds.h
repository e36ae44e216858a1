/* The Ops of this part. */
KIND(batch_norm_gradient)
KIND(batch_norm_inference)
KIND(batch_norm_train)
