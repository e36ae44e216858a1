"""The loss of a step: ELBO or IWAE bound of a PyMC3 approximation, in any number of samples and without a scan.

For a minibatch of B out of N data, samples s = 1..k of the local latents z_b ~ q(z | x_b) and of the global variables
w ~ q(w), per datum and sample

    log w_bs = log p(x_b | z_bs) + beta (log p(z_bs) - log q(z_bs | x_b))

    "elbo"   loss = -sum_b 1/k sum_s log w_bs              + B/N beta (log q(w) - log p(w))
    "iwae"   loss = -sum_b log(1/k sum_s exp(log w_bs))    + B/N beta (log q(w) - log p(w))

in nats per minibatch, PyMC3's scale: without global variables ``-loss / B`` is the bound of one datum. The ELBO
averages over k draws of w too; IWAE's samples share one draw, without which the sum would not be a bound. beta is
`kl_weight`. With ``kl="analytic"`` log q and log p of every Normal variable with a Normal prior are their expectations
(`fastvae.elbo.closed_form`); in the IWAE bound those of the local ones stand inside the logarithm, where no closed form
exists, and stay Monte Carlo.

Gradients are pathwise (z = mean + sd eps). ``estimator="dreg"`` is the doubly reparameterised one of the IWAE bound.
With v_bs = w_bs / sum_s w_bs the pathwise gradient with respect to the encoder's parameters phi is

    sum_s v_s (d log w_s / dz_s dz_s / dphi - beta d log q(z_s; phi) / dphi)

whose second part, a score function, has the expectation of -beta d v_s / dz_s dz_s / dphi = -beta v_s (1 - v_s)
d log w_s / dz_s dz_s / dphi (Tucker et al., 2018, arXiv:1810.04152, there for beta = 1). Together

    sum_s v_s (1 - beta + beta v_s) d log w_s / dz_s dz_s / dphi

has the same expectation without a score function: its variance falls as the encoder becomes exact.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import theano
import theano.tensor as tt
from theano.gof.graph import ancestors
from theano.gof.graph import inputs as graph_inputs
from theano.gradient import disconnected_grad

from fastvae import kinds, nn, posteriors
from fastvae.backends.rewrites.recognise import recognise
from fastvae.elbo import closed_form, draws
from fastvae.elbo.merge import merge_equal_nodes
from fastvae.errors import ConfigurationError

ONE = tt.constant(1, dtype="float32")


class Options(NamedTuple):
    """What `fastvae.fit` takes about the objective; see there."""

    objective: str
    kl: str
    n_samples: int
    kl_weight: float | theano.Variable
    estimator: str
    fold: bool | None


class _Term(NamedTuple):
    """One factor of the model's density."""

    variable: object
    density: object  # log density by entry, or its expectation
    scaling: object  # N / B, or 1
    weight: object  # beta for a prior, 1 for data
    is_local: bool  # whether a local random variable occurs in it


def build(
    operator: Any, options: Options, more_replacements: dict | None = None, more_updates: dict | None = None
) -> tuple[tt.TensorVariable, dict[theano.Variable, theano.Variable], dict]:
    """The loss of an approximation and what a step changes beside parameters, its noise drawn, equal nodes merged.

    Parameters
    ----------
    operator : pymc3.variational.operators.KL
        `inference.objective.op`.
    options : Options
    more_replacements : dict, optional
        As `pm.fit` takes it.
    more_updates : dict, optional
        New values of shared variables, in terms of the model's variables.

    Returns
    -------
    loss : theano.tensor.TensorVariable
        Float32 scalar, in nats per minibatch. `loss.tag.parts()` gives what it is made of, see `_Bound.parts`.
    known_gradients : dict
        Gradients of the loss with respect to some of its inner variables, for `theano.grad`'s ``known_grads=``.
    updates : dict
        `more_updates`, the states of random streams, and what `_Bound.default_updates` and
        `fastvae.nn.running_updates` find: minibatch and draws in the place of the model's variables.

    Raises
    ------
    ConfigurationError
        If an option is out of its domain, or asks for what the model does not have.
    """
    _check(options)
    bound = _Bound(operator, options, more_replacements)
    total, pieces = bound.iwae() if options.objective == "iwae" else (bound.elbo(), [])
    loss = -(total + bound.outside()) / operator.approx.symbolic_normalizing_constant
    n_local = options.n_samples
    n_global = 1 if options.objective == "iwae" else n_local
    more_updates, states = more_updates or {}, bound.draws.states
    updates = {**bound.default_updates(more_updates), **more_updates}
    symbolic = [shared for shared, new in updates.items() if isinstance(new, theano.Variable)]
    values = [*states.values(), *bound.draws.averages([updates[shared] for shared in symbolic])]
    replacements = dict(more_replacements or {})
    for group in operator.approx.groups:
        size = n_local if group.local else n_global
        noise = group.make_size_and_deterministic_replacements(size, 0, more_replacements)
        replacements = {**noise, **replacements}
    (loss, *merged), _ = recognise(merge_equal_nodes(theano.clone([loss, *pieces, *values], replacements)))
    loss.tag.parts = lambda: _cloned(bound.parts(), replacements)
    pieces, values = merged[: len(pieces)], merged[len(pieces) :]
    of_groups = zip(*[iter(pieces)] * 3)
    known_gradients = {draw: factor * (tt.grad(loss, draw) + of_log_q) for draw, factor, of_log_q in of_groups}
    return loss, known_gradients, {**nn.running_updates(loss), **updates, **dict(zip([*states, *symbolic], values))}


class _Bound:
    """The terms of a model and its approximation, and what the two objectives make of them."""

    def __init__(self, operator, options, more_replacements):
        self.approx, self.options, self.replaced = operator.approx, options, list(more_replacements or {})
        self.beta = _weight(operator.beta, options.kl_weight)
        self.local_groups = [group for group in self.approx.groups if group.local]
        self.closed = self._closed_forms() if options.kl == "analytic" else set()
        terms = self._terms()
        self.local_terms = [term for term in terms if term.is_local]
        self.outside_terms = [term for term in terms if not term.is_local]
        self.draws = self._draws(more_replacements)

    def _closed_forms(self):
        """The variables whose KL is a closed form; one line of the log names the others."""
        closed, sampled = set(), []
        for group in self.approx.groups:
            for variable in group.group:
                inside_log = group.local and self.options.objective == "iwae"
                if closed_form.has_closed_form(group, variable) and not inside_log:
                    closed.add(variable)
                else:
                    sampled.append(variable.name)
        if sampled:
            logging.getLogger("fastvae").warning(
                "kl='analytic': the KL of %s stays Monte Carlo, it has no closed form", ", ".join(sampled)
            )
        return closed

    def _terms(self):
        local = {variable for group in self.local_groups for variable in group.group}
        group_of = {variable: group for group in self.approx.groups for variable in group.group}
        model = self.approx.model
        factors = [(potential, potential, ONE, ONE) for potential in model.potentials]
        for variable in model.observed_RVs:
            factors.append((variable, variable.logp_elemwiset, _scaling(variable), ONE))
        for variable in model.free_RVs:
            density = variable.logp_elemwiset
            if variable in self.closed:
                density = closed_form.expected_log_prior(group_of[variable], variable)
            factors.append((variable, density, _scaling(variable), self.beta))
        return [_Term(*factor, is_local=not local.isdisjoint(ancestors([factor[1]]))) for factor in factors]

    def _draws(self, more_replacements):
        n, fold, iwae = self.options.n_samples, self.options.fold, self.options.objective == "iwae"
        own_globals = not iwae and len(self.local_groups) < len(self.approx.groups)
        if fold and own_globals:
            raise ConfigurationError(
                "fold=True: each sample of the ELBO has its own global variables, which one batch cannot hold; leave "
                "fold out, or take objective='iwae'"
            )
        densities = [term.density for term in self.local_terms]
        data = draws.data_of(self.approx.model, densities, more_replacements)
        if fold is None and n > 1 and densities:
            obstacle = "global variables" if own_globals else draws.obstacle(densities, self._local(), data)
            if obstacle:
                logging.getLogger("fastvae").warning(
                    "the model is copied for each of the %d samples, they cannot share its batch axis: %s", n, obstacle
                )
            fold = obstacle is None
        elif fold and n > 1:
            self._check_fold(n, densities, data)
        if fold and n > 1 and densities:
            return draws.Folded(self.approx, n, data)
        everything = [term.density for term in [*self.local_terms, *self.outside_terms]]
        data = draws.data_of(self.approx.model, everything, more_replacements)
        streams = draws.random_streams(self.approx, everything, data) if n > 1 else []
        return draws.Unrolled(self.approx, n, iwae, streams)

    def _local(self):
        return [variable for group in self.local_groups for variable in group.group]

    def _check_fold(self, n, densities, data):
        shared = draws.shared_by_samples(densities, self._local(), data)
        if shared is not None:
            raise ConfigurationError(
                f"fold=True: the {n} samples would share one batch's statistics or random numbers, of {shared}; leave "
                "fold out, and each sample takes its own pass"
            )

    def default_updates(self, more_updates):
        """The `default_update` of what the loss and `more_updates` depend on, where it is in the model's variables.

        Theano would take it as it is, and look for the value of a minibatch or of a latent that has none.
        """
        replaced = {*self.approx.replacements, *self.replaced}
        found: dict = {}
        pending = [term.density for term in [*self.local_terms, *self.outside_terms]] + [*self.approx.symbolic_randoms]
        pending += [new for new in more_updates.values() if isinstance(new, theano.Variable)]
        while pending:
            known = {*found, *more_updates, *self.draws.states}
            shared = [v for v in graph_inputs(pending) if hasattr(v, "default_update") and v not in known]
            new = {v: v.default_update for v in shared if not replaced.isdisjoint(ancestors([v.default_update]))}
            found.update(new)
            pending = list(new.values())
        return found

    def outside(self):
        """What does not depend on local variables, nor belongs to them: scaled log densities, averaged over draws."""
        total = np.float32(0)
        sums = self.draws.outside([term.density for term in self.outside_terms])
        for term, value, scaling in zip(self.outside_terms, sums, self._scalings(self.outside_terms)):
            total += term.weight * scaling * value
        for group in self.approx.groups:
            if not group.local:
                total -= self.beta * self._log_q(group)
        return total

    def elbo(self):
        """The local part of the ELBO: log densities of data and latents less log q, averaged over the samples."""
        total = np.float32(0)
        sums = self.draws.sums([term.density for term in self.local_terms])
        for term, value, scaling in zip(self.local_terms, sums, self._scalings(self.local_terms)):
            total += term.weight * scaling * value
        for group in self.local_groups:
            (scaling,) = self.draws.first([_scaling(group.group[0])])
            total -= self.beta * scaling * self._log_q(group)
        return total

    def _log_q(self, group):
        """log q of a group, summed over its entries and averaged over draws; expectations where they are closed."""
        q = posteriors.of_group(group)
        if q is None:
            return group.symbolic_logq_not_scaled.mean(0)
        log_q = q.log_q(group.symbolic_initial)
        if self.closed.isdisjoint(group.group):
            return log_q.sum(range(1, log_q.ndim)).mean(0)
        log_q, expected = log_q.mean(0), q.expected_log_q()
        return sum(
            tt.sum((expected if variable in self.closed else log_q)[..., closed_form.entries(group, variable)])
            for variable in group.group
        )

    def parts(self):
        """The log densities that the loss is made of, by name, before they are scaled and weighted: scalars.

        Data come first: observations and what `more_replacements` puts in the place of an input.
        """
        observed = {f"the observed {v.name}": v.owner.inputs[0] for v in self.approx.model.observed_RVs if v.owner}
        parts = {f"the input {key.name or key}": key for key in self.replaced} | observed
        for terms, sums in ((self.local_terms, self.draws.sums), (self.outside_terms, self.draws.outside)):
            names = [f"log p({term.variable.name})" for term in terms]
            parts.update(zip(names, sums([term.density for term in terms])))
        for group in self.approx.groups:
            parts[f"log q({', '.join(variable.name for variable in group.group)})"] = self._log_q(group)
        return parts

    def iwae(self):
        """The local part of the IWAE bound, and what the doubly reparameterised gradient is made of.

        Returns
        -------
        bound : scalar
        pieces : list of theano variables
            For each local group: its draws; the factor of their gradient; what to add to that first, for log q.
        """
        self._check_iwae()
        dreg = self.options.estimator == "dreg"
        log_w = sum(
            term.weight * rows
            for term, rows in zip(self.local_terms, self.draws.per_datum([term.density for term in self.local_terms]))
        )
        for group in self.local_groups:
            log_q = posteriors.of_group(group).log_q(group.symbolic_initial).sum(axis=2)
            log_w -= self.beta * (disconnected_grad(log_q) if dreg else log_q)
        greatest = disconnected_grad(log_w.max(axis=0))
        w = tt.exp(log_w - greatest)
        (scaling,) = self.draws.first([_scaling(self.local_groups[0].group[0])])
        bound = scaling * tt.sum(greatest + tt.log(w.mean(axis=0)))
        if not dreg:
            return bound, []
        v = (w / w.sum(axis=0)).dimshuffle(0, 1, "x")
        factor = np.float32(1) - self.beta + self.beta * v
        unit = scaling / self.approx.symbolic_normalizing_constant  # of a datum in the loss
        pieces = []
        for group in self.local_groups:
            grad_log_q = posteriors.of_group(group).grad_log_q(group.symbolic_initial)
            of_log_q = unit * self.beta * v * grad_log_q  # what the loss has through log q
            pieces += [group.symbolic_random, factor, of_log_q]
        return bound, pieces

    def _scalings(self, terms):
        return self.draws.first([term.scaling for term in terms])

    def _check_iwae(self):
        if not self.local_groups:
            raise ConfigurationError(
                "objective='iwae' needs a local latent variable, which has its own posterior for each datum: give one "
                "in local_rv, or take objective='elbo'"
            )
        sizes = {}
        for term in self.local_terms:
            size = _rows_in_all(term.variable)
            if size is None or term.density.ndim == 0:
                raise ConfigurationError(
                    f"objective='iwae' weighs each datum's samples, but {term.variable.name!r} has no density for each "
                    f"datum (total_size={getattr(term.variable, 'total_size', None)!r}): give it total_size=N and the "
                    "batch as its first axis, or take objective='elbo'"
                )
            sizes[term.variable.name] = size
        if len(set(sizes.values())) > 1:
            raise ConfigurationError(
                f"objective='iwae' needs one total_size for all variables of a datum, got {kinds.plain(sizes)}: make "
                "them equal, or take objective='elbo'"
            )
        for group in self.local_groups:
            if posteriors.of_group(group) is None:
                raise ConfigurationError(
                    f"objective='iwae' needs {posteriors.PARAMS.words} for the posterior of {group.group[0].name!r}, "
                    f"got the parameters {sorted(map(str, group.params_dict))}: give these, or objective='elbo'"
                )


def _cloned(expressions, replacements):
    """A dict of expressions with parts of them replaced."""
    return dict(zip(expressions, theano.clone(list(expressions.values()), replacements)))


def _scaling(variable):
    return variable.scaling if variable.total_size is not None else ONE


def _rows_in_all(variable):
    """N of the variable's first axis, None if it has none or another axis is scaled too."""
    size = getattr(variable, "total_size", None)
    if isinstance(size, (list, tuple)):
        size, *others = size or [None]
        if any(isinstance(other, int) for other in others):
            return None
    return size if isinstance(size, int) else None


def _weight(beta, kl_weight):
    if isinstance(kl_weight, theano.Variable):
        return beta * tt.cast(kl_weight, "float32")
    return np.float32(beta * kl_weight)


def _check(options):
    if options.estimator == "dreg" and options.objective != "iwae":
        raise ConfigurationError("estimator='dreg' is one of the IWAE bound: give objective='iwae' with it")
