// The table on the page: rows are built once per view and then only moved; all text goes in as text, never as markup.
"use strict";
trustad.table = (() => {
  const { score, bound } = trustad.model;

  const el = (name, properties = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const svg = (name, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  const glyph = (clean, left) => {
    const x = (value) => (3 + (94 * value) / 1e6).toFixed(1);
    const parts = [svg("line", { x1: 50, x2: 50, y1: 1, y2: 13, class: "half" }),
      svg("line", { x1: 3, x2: 97, y1: 7, y2: 7, class: "rail" })];
    if (clean !== null && left !== null) {
      parts.push(svg("line", { x1: x(clean), x2: x(left), y1: 7, y2: 7, class: "span" }),
        svg("circle", { cx: x(left), cy: 7, r: 3.2, class: "attacked" }));
    }
    if (clean !== null) parts.push(svg("circle", { cx: x(clean), cy: 7, r: 3.2, class: "clean" }));
    return svg("svg", { viewBox: "0 0 100 14", class: "glyph", "aria-hidden": "true", width: 100, height: 14 }, ...parts);
  };

  const limits = (cell) => (cell.low === undefined || cell.low === null ? "" : `${bound(cell.low)}–${bound(cell.high)}`);

  const bodyCell = (spec, cell, row) => {
    const td = el("td", { "data-label": spec.label });
    if (cell.note) td.title = cell.note;
    if (spec.key === "validity") td.append(el("span", { className: `badge ${cell.text}` }, cell.text));
    else if (spec.key === "step") td.append(el("span", { className: row.stale ? "step stale" : "step" }, cell.text));
    else {
      td.append(cell.text);
      if (spec.key === "r") td.className = "key";
      else if (spec.key === "date") td.className = "nowrap";
      else if (cell.value === null) td.className = "none";
      const words = limits(cell);
      if (words) td.append(el("small", {}, words));
    }
    return td;
  };

  const nameCell = (row, root, reason) => el("th", { scope: "row", className: "name" },
    el("a", { href: `${root}detectors/${row.slug}.html` }, row.name),
    el("small", {}, [row.backbone || "no backbone", ...row.traits].join(" · ")),
    reason ? el("small", {}, `not ranked: ${reason}`) : null);

  // The <tr> of row i; shown = {columns: [specs], cells: {key: [cells]}, reasons: [..]}.
  const buildRow = (row, i, shown, root, onPick) => {
    const tr = el("tr", { id: row.slug });
    const box = el("input", { type: "checkbox" });
    box.addEventListener("change", () => onPick(row.slug, box.checked));
    const word = el("span", { className: "word" }, "Compare ", el("span", { className: "vh" }, row.label));
    tr.append(el("td", { className: "pick" }, el("label", {}, box, word)),
      el("td", { className: "rank" }),
      nameCell(row, root, shown.reasons[i]),
      el("td", { className: "glyph" }, glyph(shown.cells.clean[i].value, shown.cells.a[i].value)),
      ...shown.columns.map((spec) => bodyCell(spec, shown.cells[spec.key][i], row)));
    return tr;
  };

  const place = (rank, row) => (rank.rank === undefined ? trustad.model.DASH : `${row.transductive ? "T" : ""}${rank.rank}`);

  const fillRank = (tr, rank, row) => {
    const td = tr.querySelector("td.rank");
    const span = rank.low ? el("small", {}, `${rank.low}–${rank.high}`) : null;
    if (rank.rank === undefined) td.replaceChildren(el("span", { className: "none", title: rank.reason || "" }, place(rank, row)));
    else td.replaceChildren(el("b", {}, place(rank, row)), ...(span ? [span] : []));
    tr.classList.toggle("unranked", rank.rank === undefined);
  };

  const headCell = (spec, state, root, onSort) => {
    const sorted = state.sort === spec.key;
    const button = el("button", { type: "button", className: "sort", title: spec.help }, spec.label);
    button.addEventListener("click", () => onSort(spec));
    const th = el("th", { scope: "col", "data-c": spec.key, className: spec.left ? "left" : "" }, button);
    if (sorted) th.setAttribute("aria-sort", state.dir === "asc" ? "ascending" : "descending");
    if (spec.define !== false) {
      th.append(" ", el("a", { className: "define", href: `${root}definitions.html#${spec.key}`, "aria-label": `Definition of ${spec.label}` }, "?"));
    }
    return th;
  };

  const groups = (columns) => {
    const cells = [];
    for (const spec of columns) {
      const last = cells[cells.length - 1];
      if (last && last.textContent === spec.group) last.colSpan += 1;
      else cells.push(el("th", { scope: "colgroup", colSpan: 1 }, spec.group));
    }
    return cells;
  };

  const LEAD = [{ key: "rank", label: "Rank", help: "Place by R in this view, with the places that cannot be ruled out." },
    { key: "name", label: "Detector", help: "Name of the detector", left: true, define: false }];

  const buildHead = (columns, state, root, onSort) => [
    el("tr", { className: "groups" }, el("td", { colSpan: 4 }), ...groups(columns)),
    el("tr", {}, el("th", { scope: "col", className: "pick" }, el("span", { className: "vh" }, "Compare")),
      ...LEAD.map((spec) => headCell(spec, state, root, onSort)),
      el("th", { scope: "col", className: "left" }, "Clean → A(ε)"),
      ...columns.map((spec) => headCell(spec, state, root, onSort))),
  ];

  return { el, svg, glyph, limits, buildRow, buildHead, fillRank, place, score };
})();
