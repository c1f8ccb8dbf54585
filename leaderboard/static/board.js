// The board: reads the state from the address, loads the data files of the view, draws, and keeps the address in step.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("board");
  if (!table) return;
  const { model, state: states } = trustad;
  const { root, track } = table.dataset;
  const base = trustad.get(`${track}/base`);
  const specs = Object.fromEntries(base.columns.map((c) => [c.key, c]));
  const panel = document.getElementById("controls");
  const box = document.getElementById("box");
  const status = document.getElementById("status");
  const bar = document.getElementById("bar");
  const comparison = document.getElementById("compare");
  let state = states.read(location.hash, base);
  let drawn = "";
  let trs = new Map();
  let current = null;
  let round = 0;
  const pairTables = new Map();
  const STEP = 25;

  const stem = () => `${track}/${base.datasets.find((d) => d.name === state.dataset).file}`;
  const keys = () => [`${stem()}-${state.shots}.clean`, ...(state.attack ? [`${stem()}-${state.shots}.${base.attacks[state.attack].file}`] : [])];
  const dataOf = () => {
    const [clean, attacked] = keys().map(trustad.get);
    return { base, specs, clean, attacked, root };
  };

  const pairs = (robust) => {
    const key = `${stem()}.replicates`;
    if (state.shots !== base.ranked_shots || !trustad.get(key)) return null;
    if (!pairTables.has(key)) pairTables.set(key, model.pairTable(robust.map((c) => c.value), trustad.get(key)));
    return pairTables.get(key);
  };

  const untouched = () => states.FILTERS.every((key) => !state[key]) && state.dataset === base.default.dataset && state.shots === base.default.shots;

  const ranksOf = (shown, cells, data) => {
    const missing = state.shots === base.ranked_shots ? "" : `R is defined at ${base.ranked_shots} shots`;
    const table = pairs(cells.r);
    const found = model.ranks(shown, base.rows, cells.r, data.clean.unranked, table, missing);
    if (!table && untouched()) {
      base.ranks.forEach(([rank, low, high], i) => { if (rank !== null) found.set(i, { rank, low, high }); });
    }
    return found;
  };

  const sentence = () => {
    const budget = state.budget === base.no_budget ? [] : [state.budget];
    const condition = state.attack ? [base.attacks[state.attack].title, base.goals[state.goal], ...budget].join(", ") : "clean";
    return `${base.views[state.dataset]}; ${trustad.controls.shotsWords(state.shots)}; ${condition}`;
  };

  const sortWords = () => {
    const spec = specs[state.sort];
    if (state.sort === "rank") return "Sorted by rank: R, highest first; ranks and their intervals are computed for the rows shown.";
    const way = state.dir === "asc" ? "lowest first" : "highest first";
    if (!spec) return `Sorted by name, ${state.dir === "asc" ? "A to Z" : "Z to A"}.`;
    const good = spec.better === "neither" ? "" : ` ${spec.better === "higher" ? "Higher" : "Lower"} is better.`;
    return `Sorted by ${spec.label}, ${way}.${good} ${spec.help}`;
  };

  // Draw the present state; its data files are there.
  const draw = () => {
    const data = dataOf();
    const columns = base.columns.filter((c) => state.cols.includes(c.key));
    const signature = JSON.stringify([keys(), state.goal, state.budget, state.cols]);
    const wanted = new Set(["r", "a", "clean", ...state.cols, ...(specs[state.sort] ? [state.sort] : [])]);
    const cells = current && drawn === signature && [...wanted].every((key) => key in current.cells) ? current.cells
      : Object.fromEntries([...wanted].map((key) => [key, model.column(specs[key], state, data)]));
    if (drawn !== signature) trs = new Map();
    drawn = signature;
    const filtered = base.rows.map((_, i) => i).filter((i) => model.matches(base.rows[i], state));
    const ranks = ranksOf(filtered, cells, data);
    const league = (i) => ({ value: ranks.get(i)?.rank === undefined ? null : ranks.get(i).rank + (base.rows[i].transductive ? 1e6 : 0) });
    const primary = { rank: () => base.rows.map((_, i) => league(i)), name: () => base.rows.map((r) => ({ value: r.name.toLowerCase() })) }[state.sort];
    const order = model.order(filtered, base.rows, [primary ? primary() : cells[state.sort], cells.r, cells.a, cells.clean], state.dir === "asc" ? 1 : -1);
    table.tHead.replaceChildren(...trustad.table.buildHead(columns, state, root, sort));
    current = { cells, columns, order, ranks, data };
    placeRows();
    status.textContent = order.length
      ? `${order.length} of ${base.rows.length} detectors; ${sentence()}. ${sortWords()}`
      : `No detector matches. ${sentence()}.`;
    const chosen = state.compare.map((slug) => base.rows.findIndex((row) => row.slug === slug));
    drawBar(chosen);
    trustad.compare.render(comparison, chosen.length > 1 ? chosen : [], state, data, ranks, `${sentence()}.`, () => set({ compare: [] }));
  };

  // The first rows at once, the others in steps, so that a long table answers as fast as a short one.
  const placeRows = () => {
    const { order, cells, columns, ranks, data } = current;
    const body = table.tBodies[0];
    round += 1;
    const mine = round;
    const row = (i) => {
      if (!trs.has(i)) trs.set(i, trustad.table.buildRow(base.rows[i], i, { columns, cells, reasons: data.clean.unranked }, root, pick));
      const tr = trs.get(i);
      trustad.table.fillRank(tr, ranks.get(i), base.rows[i]);
      checkBox(tr, base.rows[i].slug);
      return tr;
    };
    const step = (from) => {
      if (mine !== round) return;
      body.append(...order.slice(from, from + STEP).map(row));
      if (from + STEP < order.length) setTimeout(step, 0, from + STEP);
    };
    body.replaceChildren(...order.slice(0, STEP).map(row));
    if (order.length > STEP) setTimeout(step, 0, STEP);
  };

  const checkBox = (tr, slug) => {
    const chosen = tr.querySelector("input");
    chosen.checked = state.compare.includes(slug);
    chosen.disabled = state.compare.length >= 4 && !chosen.checked;
  };

  const drawBar = (chosen) => {
    bar.hidden = chosen.length === 0;
    if (bar.hidden) return;
    const names = chosen.map((i) => base.rows[i].label).join(", ");
    const jump = trustad.controls.button("Show comparison", () => comparison.scrollIntoView(), { disabled: chosen.length < 2 });
    bar.replaceChildren(trustad.table.el("span", {}, `Compare (${chosen.length} of 4): ${names}`), jump, trustad.controls.button("Clear", () => set({ compare: [] })));
  };

  const pick = (slug, on) => set({ compare: on ? [...state.compare, slug].slice(0, 4) : state.compare.filter((s) => s !== slug) });

  const sort = (spec) => {
    const first = { rank: "asc", name: "asc" }[spec.key] || (spec.better === "lower" ? "asc" : "desc");
    const dir = state.sort === spec.key ? (state.dir === "asc" ? "desc" : "asc") : first;
    set({ sort: spec.key, dir });
    table.tHead.querySelector(`th[data-c="${spec.key}"] button`).focus();
  };

  const sheet = () => {
    const fixed = [["rank", "Rank", "number", true], ["detector", "Detector", "text", false], ["backbone", "Backbone", "text", false]];
    const columns = [...fixed.map(([key, label, kind, interval]) => ({ key, label, kind, interval })),
      ...current.columns.map((c) => ({ key: c.key, label: c.label, kind: c.unit === "text" ? "text" : "number", interval: c.interval }))];
    const cell = (text, low = "", high = "") => ({ text, low, high });
    const rows = current.order.map((i) => {
      const rank = current.ranks.get(i);
      const row = base.rows[i];
      return [cell(trustad.table.place(rank, row), rank.low ? String(rank.low) : "", rank.low ? String(rank.high) : ""),
        cell(row.name), cell(row.backbone || ""),
        ...current.columns.map((c) => {
          const { text, low, high } = current.cells[c.key][i];
          return cell(text, model.bound(low), model.bound(high));
        })];
    });
    return { track, view: sentence(), columns, rows };
  };

  const exporters = [["CSV", "csv", "text/csv"], ["JSON", "json", "application/json"], ["LaTeX", "latex", "text/x-tex"], ["Markdown", "markdown", "text/markdown"]]
    .map(([label, kind, type]) => [label, () => trustad.export.save(`trustad-${track}.${{ latex: "tex", markdown: "md" }[kind] || kind}`, trustad.export[kind](sheet()), type)]);
  exporters.push(["BibTeX", () => trustad.load(root, ["bibliography"]).then(() => {
    const { release, entries } = trustad.get("bibliography");
    const text = [release, ...current.order.map((i) => entries[base.rows[i].slug])].join("\n");
    trustad.export.save(`trustad-${track}.bib`, text, "application/x-bibtex");
  })]);

  const refresh = () => trustad.load(root, keys()).then(() => {
    draw();
    trustad.controls.build(panel, base, state, set, exporters, reset);
    performance.mark("board-ready");
    return trustad.load(root, [`${stem()}.replicates`]);
  }).then(() => {
    if (untouched()) setTimeout(() => pairs(current.cells.r), 200);
    else draw();
  });

  const set = (change) => {
    state = states.settle({ ...state, ...change }, base);
    const words = states.write(state, base);
    history.replaceState(null, "", words ? `#${words}` : "#");
    if (keys().every((key) => trustad.get(key) !== undefined) && trustad.get(`${stem()}.replicates`)) {
      draw();
      if (!("q" in change)) trustad.controls.build(panel, base, state, set, exporters, reset);
    } else refresh();
  };
  const reset = () => {
    state = states.initial(base);
    set({});
  };

  const closeMenus = (except) => panel.querySelectorAll("details[open]").forEach((menu) => { if (menu !== except) menu.open = false; });
  document.addEventListener("pointerdown", (event) => closeMenus(event.target.closest(".controls details")));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeMenus(null); });

  window.addEventListener("hashchange", () => {
    if (!location.hash.includes("=") && location.hash.length > 1) return;
    state = states.read(location.hash, base);
    refresh();
  });
  trustad.board = { state: () => state, sheet, ranks: () => current.ranks };
  box.hidden = false;
  box.open = matchMedia("(min-width: 761px)").matches;
  refresh();
});
