// Controls above the table: built from the data, operated by keyboard like any form.
"use strict";
trustad.controls = (() => {
  const { el } = trustad.table;

  // options: [key, words] or [key, words, group]; neighbours of one group stand under its name.
  const select = (label, value, options, onChange) => {
    const node = el("select");
    let place = node;
    let last;
    for (const [key, words, group] of options) {
      if (group !== last) node.append(place = group ? el("optgroup", { label: group }) : node);
      last = group;
      place.append(el("option", { value: key, selected: String(key) === String(value) }, words));
    }
    node.addEventListener("change", () => onChange(node.value));
    return el("label", {}, label, node);
  };
  const check = (label, checked, onChange) => {
    const box = el("input", { type: "checkbox", checked });
    box.addEventListener("change", () => onChange(box.checked));
    return el("label", {}, box, label);
  };
  const button = (label, onClick, properties = {}) => {
    const node = el("button", { type: "button", ...properties }, label);
    node.addEventListener("click", onClick);
    return node;
  };
  const menu = (label, kind, ...children) => el("details", {}, el("summary", {}, label), el("div", { className: `menu ${kind}` }, ...children));

  const shotsWords = (k) => (Number(k) === 0 ? "zero-shot" : `${k}-shot`);
  const unique = (list) => [...new Set(list)];

  const byKind = (base, attacks) => base.kinds.flatMap(([kind, group]) =>
    attacks.filter((a) => base.attacks[a].kind === kind).map((a) => [a, base.attacks[a].title, kind === "worst" ? undefined : group]));

  const conditionSelects = (base, state, set) => {
    const conditions = base.shots[state.shots];
    const attacks = unique(conditions.map(([attack]) => attack));
    const goals = unique(conditions.filter(([a]) => a === state.attack).map(([, goal]) => goal));
    const budgets = unique(conditions.filter(([a, g]) => a === state.attack && g === state.goal).map(([, , e]) => e));
    return [
      select("Attack", state.attack, byKind(base, attacks), (attack) => set({ attack })),
      select("Goal", state.goal, goals.map((g) => [g, base.goals[g]]), (goal) => set({ goal })),
      select("Budget", state.budget, budgets.map((e) => [e, e === base.no_budget ? "none" : e]), (budget) => set({ budget })),
    ];
  };

  const columnMenu = (base, state, set) => {
    const groups = unique(base.columns.map((c) => c.group));
    return menu("Columns", "columns", ...groups.flatMap((group) => [
      el("b", {}, group),
      ...base.columns.filter((c) => c.group === group).map((c) => check(c.label, state.cols.includes(c.key), (on) => {
        const keys = new Set(state.cols);
        if (on) keys.add(c.key);
        else keys.delete(c.key);
        set({ cols: base.columns.map((x) => x.key).filter((key) => keys.has(key)) });
      })),
    ]));
  };

  // keep: the search box survives a rebuild, so that typing is never interrupted.
  const build = (panel, base, state, set, exporters, onReset) => {
    const search = panel.querySelector("input[type=search]") || el("input", { type: "search", placeholder: "name, author, backbone" });
    if (document.activeElement !== search) search.value = state.q;
    search.oninput = () => set({ q: search.value });
    const backbones = unique(base.rows.map((row) => row.backbone || "none")).sort();
    const active = document.activeElement && panel.contains(document.activeElement) ? [...panel.querySelectorAll("select, input, button, summary")].indexOf(document.activeElement) : -1;
    const open = [...panel.querySelectorAll("details")].map((d) => d.open);
    panel.replaceChildren(
      el("label", {}, "Search", search),
      select("Data set", state.dataset, base.datasets.map((d) => [d.name, d.title]), (dataset) => set({ dataset })),
      select("Shots", state.shots, Object.keys(base.shots).map((k) => [k, shotsWords(k)]), (k) => set({ shots: Number(k) })),
      ...conditionSelects(base, state, set),
      select("Backbone", state.backbone, [["", "any"], ...backbones.map((b) => [b, b])], (backbone) => set({ backbone })),
      select("Kind", state.kind, [["", "zero- and few-shot"], ["zero", "zero-shot"], ["few", "few-shot"]], (kind) => set({ kind })),
      el("div", { className: "checks" },
        check("hide transductive", state.transductive === "hide", (on) => set({ transductive: on ? "hide" : "" })),
        check("hide auxiliary labels", state.auxiliary === "hide", (on) => set({ auxiliary: on ? "hide" : "" })),
        check("code available", state.code === "yes", (on) => set({ code: on ? "yes" : "" }))),
      columnMenu(base, state, set),
      menu("Export", "exports", ...exporters.map(([label, run]) => button(label, run))),
      button("Copy link", (event) => {
        navigator.clipboard.writeText(location.href).then(() => { event.target.textContent = "Copied"; }, () => { location.hash = trustad.state.write(state, base); });
      }),
      button("Reset", onReset),
    );
    [...panel.querySelectorAll("details")].forEach((d, i) => { d.open = open[i] || false; });
    if (active >= 0) [...panel.querySelectorAll("select, input, button, summary")][active]?.focus();
  };

  return { build, button, shotsWords };
})();
