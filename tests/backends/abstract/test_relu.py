import numpy as np
import theano
import theano.tensor as tt

from fastvae.backends.abstract.relu import elementwise_relu, relu_gradient


def test_the_gradient_is_the_one_of_the_output():
    x, g = tt.fvector("x"), tt.fvector("g")
    values = np.float32([-2, -0.0, 0, 3]), np.float32([1, 2, 3, 4])
    from_input = theano.function([x, g], tt.Lop(elementwise_relu(x), x, g))(*values)
    from_output = theano.function([x, g], relu_gradient(elementwise_relu(x), g))(*values)
    assert from_input.tolist() == from_output.tolist() == [0, 0, 0, 4]
