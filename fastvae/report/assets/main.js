"use strict";

{
  const { runs } = JSON.parse(document.getElementById("data").textContent);
  const curves = document.getElementById("curves");
  const several = runs.length > 1;
  const known = points => points.filter(([, value]) => value !== null);
  if (curves) {
    new Chart(curves, runs.flatMap((run, i) => {
      const of = several ? `${run.name}, ` : "", colour = `var(--run${i})`;
      const series = [{ name: `${of}training ELBO`, colour, points: smoothed(run.curve) }];
      if (!several) series.unshift({ name: "each minibatch", colour, faint: true, points: run.curve });
      return [...series, { name: `${of}held-out ELBO`, colour: several ? colour : "var(--run1)", dashed: true,
        points: known(run.heldOut) }];
    }));
  }
  const explorers = [...document.querySelectorAll(".explorer")]
    .map(parent => new Explorer(parent, runs[Number(parent.dataset.run)].results));
  for (const one of explorers) {
    one.moved = at => explorers.filter(other => other !== one).forEach(other => other.go(...at, false));
  }
  Promise.all(explorers.map(one => one.ready)).then(() => {
    // Milliseconds since the page was asked for.
    document.documentElement.dataset.ready = Math.round(performance.now());
  });
}
