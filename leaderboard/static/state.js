// The state of the view, kept in the address after "#", so that a link shows the same table.
"use strict";
trustad.state = (() => {
  const FILTERS = ["q", "backbone", "kind", "transductive", "auxiliary", "code"];

  const initial = (base) => ({
    ...base.default,
    sort: "rank",
    dir: "asc",
    cols: base.columns.filter((c) => c.shown).map((c) => c.key),
    compare: [],
    ...Object.fromEntries(FILTERS.map((key) => [key, ""])),
  });

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  const write = (state, base) => {
    const start = initial(base);
    const words = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) {
      if (!same(value, start[key])) words.set(key, Array.isArray(value) ? value.join(",") : String(value));
    }
    return words.toString();
  };

  // Unknown keys and values are dropped: an old or hostile link gives a valid view.
  const read = (hash, base) => {
    const state = initial(base);
    const words = new URLSearchParams(hash.replace(/^#/, ""));
    const slugs = new Set(base.rows.map((row) => row.slug));
    const keys = new Set(base.columns.map((c) => c.key));
    for (const key of ["dataset", "attack", "goal", "budget", "sort", "dir", ...FILTERS]) {
      if (words.has(key)) state[key] = words.get(key);
    }
    if (words.has("shots")) state.shots = Number(words.get("shots"));
    if (words.has("cols")) state.cols = base.columns.map((c) => c.key).filter((key) => words.get("cols").split(",").includes(key));
    if (words.has("compare")) state.compare = words.get("compare").split(",").filter((slug) => slugs.has(slug)).slice(0, 4);
    if (!base.datasets.some((d) => d.name === state.dataset)) state.dataset = base.default.dataset;
    if (!(state.shots in base.shots)) state.shots = base.default.shots;
    if (!keys.has(state.sort) && !["rank", "name"].includes(state.sort)) state.sort = "rank";
    if (!["asc", "desc"].includes(state.dir)) state.dir = "asc";
    return settle(state, base);
  };

  // Choose the nearest condition that exists at the chosen support size.
  const settle = (state, base) => {
    const conditions = base.shots[state.shots];
    const { level } = trustad.model;
    const best = (list, test) => (list.some(test) ? list.filter(test) : list);
    let left = best(conditions, ([attack]) => attack === state.attack);
    left = best(left, ([, goal]) => goal === state.goal);
    left = [...left].sort((x, y) => Math.abs(level(x[2]) - level(state.budget)) - Math.abs(level(y[2]) - level(state.budget)));
    const [attack, goal, budget] = left[0] || [null, null, null];
    return { ...state, attack, goal, budget };
  };

  return { initial, read, write, settle, FILTERS };
})();
