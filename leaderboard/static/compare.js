// Up to four detectors side by side: every column, and their curves over the budgets of the chosen attack.
"use strict";
trustad.compare = (() => {
  const { el, svg, limits } = trustad.table;
  const WIDTH = 620;
  const HEIGHT = 300;

  const curves = (rows, picks, series) => {
    const levels = [...new Set(series.flatMap((points) => points.map(([level]) => level)))].sort((a, b) => a - b);
    const x = (level) => 40 + (levels.indexOf(level) / Math.max(levels.length - 1, 1)) * (WIDTH - 220);
    const y = (value) => 262 - (value / 1e6) * 236;
    const parts = [0, 2.5e5, 5e5, 7.5e5, 1e6].flatMap((v) => [
      svg("line", { x1: 40, x2: WIDTH - 180, y1: y(v), y2: y(v), class: v === 5e5 ? "chance" : "grid" }),
      svg("text", { x: 33, y: y(v) + 4, "text-anchor": "end" }, (v / 1e6).toFixed(2))]);
    for (const level of levels) parts.push(svg("text", { x: x(level), y: 282, "text-anchor": "middle" }, level ? trustad.model.budget(level) : "clean"));
    const ends = series.map((points, s) => ({ s, at: points.length ? y(points[points.length - 1][1]) : 0 })).sort((a, b) => a.at - b.at);
    let floor = 20;
    for (const end of ends) { end.at = Math.max(end.at, floor); floor = end.at + 15; }
    for (const { s, at } of ends) {
      const points = series[s];
      if (!points.length) continue;
      parts.push(svg("path", { class: `line s${s}`, d: points.map(([l, v], i) => `${i ? "L" : "M"}${x(l)} ${y(v)}`).join(" ") }));
      for (const [l, v] of points) {
        const tip = `${rows[picks[s]].label}, ${l ? trustad.model.budget(l) : "clean"}: ${trustad.model.score(v)}`;
        parts.push(svg("circle", { class: `dot s${s}`, cx: x(l), cy: y(v), r: 4, "data-tip": tip }, svg("title", {}, tip)));
      }
      parts.push(svg("text", { class: `name s${s}`, x: x(points[points.length - 1][0]) + 10, y: at + 4 }, rows[picks[s]].label));
    }
    const words = picks.map((i, s) => `${rows[i].label}: ${series[s].map(([, v]) => trustad.model.score(v)).join(", ")}`).join("; ");
    return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart curves", role: "img", "aria-label": `A over budgets. ${words}` }, ...parts);
  };

  // AUROC over budgets of one row: clean, then every budget of the view's attack and goal.
  const seriesOf = (i, state, data) => {
    const points = [];
    const clean = trustad.model.column(data.specs.clean, state, data)[i].value;
    if (clean !== null) points.push([0, clean]);
    for (const [attack, goal, budget] of data.base.shots[state.shots]) {
      if (attack !== state.attack || goal !== state.goal) continue;
      const cell = trustad.model.column(data.specs.a, { ...state, budget }, data)[i];
      if (cell.value !== null) points.push([trustad.model.level(budget), cell.value]);
    }
    return points;
  };

  const render = (section, picks, state, data, ranks, words, onClose) => {
    section.hidden = picks.length === 0;
    if (section.hidden) return;
    const { rows, columns } = data.base;
    const head = el("tr", {}, el("th", { scope: "col", className: "left" }, "Measure"),
      ...picks.map((i) => el("th", { scope: "col" }, el("a", { href: `${data.root}detectors/${rows[i].slug}.html` }, rows[i].label))));
    const line = (label, texts) => el("tr", {}, el("th", { scope: "row" }, label), ...texts.map(([text, small, best]) =>
      el("td", best ? { className: "best" } : {}, text, small ? el("small", {}, small) : null)));
    const body = [line("Rank", picks.map((i) => {
      const rank = ranks.get(i) || {};
      return [trustad.table.place(rank, rows[i]), rank.low ? `${rank.low}–${rank.high}` : rank.reason || ""];
    }))];
    for (const spec of columns) {
      const cells = trustad.model.column(spec, state, data);
      const numbers = picks.map((i) => cells[i].value).filter((v) => typeof v === "number");
      const best = spec.better === "neither" || new Set(numbers).size < 2 ? null : Math[spec.better === "higher" ? "max" : "min"](...numbers);
      body.push(line(spec.label, picks.map((i) => [cells[i].text, limits(cells[i]), best !== null && cells[i].value === best])));
    }
    section.replaceChildren(
      el("h2", {}, "Side by side"), el("p", { className: "note" }, `${words} Best value of each line in bold.`),
      el("figure", {}, el("figcaption", {}, "What is left over budgets"), curves(rows, picks, picks.map((i) => seriesOf(i, state, data)))),
      el("div", { className: "frame scroll", tabIndex: 0, role: "region", "aria-label": "All measures side by side" },
        el("table", { className: "compare" }, el("thead", {}, head), el("tbody", {}, ...body))),
      trustad.controls.button("Close comparison", onClose));
  };

  return { render };
})();
