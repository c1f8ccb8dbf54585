// The board without a page: cells, filters, order, ranks. Numbers are millionths, as in the data files; replicates of R ten-thousandths.
"use strict";
trustad.model = (() => {
  const DASH = "—";

  // --- cells: {value, low, high, note}; text columns: {text, value} ---
  const decode = (raw, texts) => {
    if (!Array.isArray(raw)) return { value: raw };
    if (raw.length >= 3) return { value: raw[0], low: raw[1], high: raw[2], note: texts[raw[3]] };
    return { value: raw[0], note: texts[raw[1]] };
  };
  const fixed = (value, digits) => {
    const step = 10 ** (6 - digits);
    const whole = Math.floor((value + step / 2) / step);
    const size = 10 ** digits;
    const sign = whole < 0 ? "−" : "";
    return `${sign}${Math.floor(Math.abs(whole) / size)}.${String(Math.abs(whole) % size).padStart(digits, "0")}`;
  };
  const score = (value) => (value === null || value === undefined ? DASH : fixed(value, 3));
  const bound = (value) => (value === null || value === undefined ? "" : fixed(value, 2));

  // --- budgets: grey levels, written 1/n below one ---
  const level = (budget) => { const [top, under] = String(budget).split("/").map(Number); return under ? top / under : top || 0; };
  const budget = (levels) => (levels && levels < 1 ? `1/${Math.round(1 / levels)}` : String(levels));

  const absent = { value: null, note: "not measured in this view" };

  // All cells of a column in a view, one per row. clean, attacked: the data files of the view.
  const column = (spec, view, data) => {
    const n = data.base.rows.length;
    const from = (source, texts, shown) => source.map((raw) => {
      const cell = decode(raw, texts);
      return { ...cell, text: score(cell.value), low: shown ? cell.low : undefined, high: shown ? cell.high : undefined };
    });
    if (spec.key === "drop") {
      const specs = Object.fromEntries(data.base.columns.map((c) => [c.key, c]));
      const [clean, left] = [column(specs.clean, view, data), column(specs.a, view, data)];
      return clean.map((c, i) => {
        const known = c.value !== null && left[i].value !== null;
        const value = known ? c.value - left[i].value : null;
        return { value, text: score(value), note: known ? undefined : (c.value === null ? c.note : left[i].note) };
      });
    }
    if (spec.unit !== "score") return data.clean.columns[spec.key].map(([text, value]) => ({ text, value }));
    if (spec.when !== "attacked") return from(data.clean.columns[spec.key], data.clean.texts, spec.interval);
    const found = data.attacked && data.attacked.conditions[`${view.goal} ${view.budget}`];
    if (!found || !found[spec.key]) return Array.from({ length: n }, () => ({ ...absent, text: DASH }));
    return from(found[spec.key], data.attacked.texts, spec.interval);
  };

  // --- filters ---
  const matches = (row, state) =>
    state.q.toLowerCase().split(/\s+/).every((word) => row.find.includes(word))
    && (!state.backbone || (row.backbone || "none") === state.backbone)
    && (!state.kind || row.kind === state.kind)
    && !(state.transductive === "hide" && row.transductive)
    && !(state.auxiliary === "hide" && row.auxiliary)
    && !(state.code === "yes" && !row.code);

  // --- ranks: Holm over all pairs of the rows shown, from paired replicates ---
  // erfc for x >= 0: Taylor series of erf below 3, continued fraction (evaluated from its tail) from there.
  const erfc = (x) => {
    const scale = Math.exp(-x * x) / Math.sqrt(Math.PI);
    if (x < 3) {
      let term = 2 * x;
      let sum = term;
      for (let k = 1; term > 1e-17 * sum; k += 1) {
        term *= (2 * x * x) / (2 * k + 1);
        sum += term;
      }
      return 1 - scale * sum;
    }
    let tail = x;
    for (let k = 60; k > 0; k -= 1) tail = x + k / 2 / tail;
    return scale / tail;
  };

  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true));
  };

  // Two-sided p of the difference of two rows, by the spread of their paired replicates.
  const pValue = (difference, a, b) => {
    const n = a.length;
    let sum = 0;
    for (let i = 0; i < n; i += 1) sum += a[i] - b[i];
    const mean = sum / n;
    let squares = 0;
    for (let i = 0; i < n; i += 1) squares += (a[i] - b[i] - mean) ** 2;
    if (squares === 0) return difference ? 0 : 1;
    return erfc(Math.abs(difference) / Math.sqrt(squares / (n - 1)) / Math.SQRT2);
  };

  // p of every pair of rows that have replicates, computed once per data set: pairs[i * n + j] for j < i.
  const pairTable = (values, packed) => {
    const n = values.length;
    const samples = packed.map((text) => (text ? unpack(text) : null));
    const p = new Float64Array(n * n).fill(NaN);
    for (let i = 0; i < n; i += 1) {
      if (!samples[i] || values[i] === null) continue;
      for (let j = 0; j < i; j += 1) {
        if (samples[j] && values[j] !== null) p[i * n + j] = pValue((values[i] - values[j]) / 100, samples[i], samples[j]);
      }
    }
    return { n, p, known: samples.map((s) => s !== null) };
  };

  // Largest p that Holm's step-down procedure rejects at 0.05 among m tests; -1 = none.
  const holm = (small, m) => {
    const sorted = Float64Array.from(small).sort();
    let threshold = -1;
    for (let k = 0; k < sorted.length && sorted[k] <= 0.05 / (m - k); k += 1) threshold = sorted[k];
    return threshold;
  };

  // Ranks of one league; members are row positions. pairs may be null: places without intervals.
  const leagueRanks = (members, values, pairs) => {
    const places = new Map();
    members.map((i) => values[i]).sort((a, b) => b - a).forEach((value, k) => { if (!places.has(value)) places.set(value, k + 1); });
    const ranks = new Map(members.map((i) => [i, { rank: places.get(values[i]) }]));
    if (!pairs || !members.every((i) => pairs.known[i])) return ranks;
    const at = (i, j) => pairs.p[Math.max(i, j) * pairs.n + Math.min(i, j)];
    const small = [];
    for (let x = 0; x < members.length; x += 1) {
      for (let y = 0; y < x; y += 1) {
        const p = at(members[x], members[y]);
        if (p <= 0.05) small.push(p);
      }
    }
    const threshold = holm(small, (members.length * (members.length - 1)) / 2);
    for (const i of members) Object.assign(ranks.get(i), { low: 1, high: members.length });
    for (let x = 0; x < members.length; x += 1) {
      for (let y = 0; y < x; y += 1) {
        const [i, j] = [members[x], members[y]];
        if (at(i, j) > threshold) continue;
        const [winner, loser] = values[i] > values[j] ? [i, j] : [j, i];
        ranks.get(loser).low += 1;
        ranks.get(winner).high -= 1;
      }
    }
    return ranks;
  };

  // {rank, low, high} or {reason} for every row position in shown.
  const ranks = (shown, rows, robust, reasons, pairs, missing) => {
    const found = new Map();
    const values = robust.map((cell) => cell.value);
    for (const i of shown) {
      if (reasons[i]) found.set(i, { reason: reasons[i] });
      else if (values[i] === null) found.set(i, { reason: missing || robust[i].note });
    }
    for (const league of [false, true]) {
      const members = shown.filter((i) => !found.has(i) && rows[i].transductive === league);
      for (const [i, rank] of leagueRanks(members, values, pairs)) found.set(i, rank);
    }
    return found;
  };

  // --- order ---
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return a < b ? -1 : 1;
  };

  // By a column; equal and missing values fall back to R, A, clean AUROC, slug.
  const order = (shown, rows, keys, direction) => [...shown].sort((a, b) => {
    for (const [k, cells] of keys.entries()) {
      const [x, y] = [cells[a].value ?? null, cells[b].value ?? null];
      const missing = (x === null) - (y === null);
      if (missing) return missing;
      const way = k === 0 ? direction : -1;
      const result = way * compare(x, y);
      if (result) return result;
    }
    return compare(rows[a].slug, rows[b].slug);
  });

  return { level, budget, DASH, column, matches, pairTable, ranks, order, score, bound, erfc };
})();
