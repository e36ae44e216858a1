/* The Ops of this part. */
KIND(categorical_log_prob)
KIND(categorical_log_prob_gradient)
KIND(discretized_logistic_log_prob)
KIND(discretized_logistic_log_prob_gradient)
