// Exactly what is on screen as CSV, JSON, LaTeX, Markdown and BibTeX; leaderboard/export.py writes the same.
"use strict";
trustad.export = (() => {
  const DASH = "—";
  const plain = (text) => (text === DASH ? "" : text.replaceAll("−", "-").replaceAll(",", ""));

  // sheet = {track, view, columns: [{key, label, kind, interval}], rows: [[{text, low, high}]]}
  const csvText = (text) => `"${(/^[=+\-@\t\r\n|%]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const csv = (sheet) => {
    const names = ["track", "view", ...sheet.columns.flatMap((c) => (c.interval ? [c.key, `${c.key}_low`, `${c.key}_high`] : [c.key]))];
    const lines = sheet.rows.map((row) => [csvText(sheet.track), csvText(sheet.view), ...row.flatMap((cell, i) => {
      const column = sheet.columns[i];
      const first = column.kind === "number" ? plain(cell.text) : csvText(cell.text);
      return column.interval ? [first, plain(cell.low), plain(cell.high)] : [first];
    })].join(","));
    return [names.join(","), ...lines].map((line) => `${line}\r\n`).join("");
  };

  const number = (text) => {
    const word = plain(text);
    return /^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$/.test(word) ? Number(word) : word || null;
  };
  const sorted = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
  const json = (sheet) => {
    const rows = sheet.rows.map((row) => sorted(Object.fromEntries(row.flatMap((cell, i) => {
      const { key, kind, interval } = sheet.columns[i];
      const first = [key, kind === "number" ? number(cell.text) : cell.text];
      return interval ? [first, [`${key}_low`, number(cell.low)], [`${key}_high`, number(cell.high)]] : [first];
    }))));
    return `${JSON.stringify(sorted({ track: sheet.track, view: sheet.view, rows }), null, 1)}\n`;
  };

  const LATEX = { "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", $: "\\$", "&": "\\&", "#": "\\#", "%": "\\%", _: "\\_",
    "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "—": "--", "−": "$-$", "–": "--", "→": "$\\to$", "ε": "$\\varepsilon$",
    "\n": " ", "\r": " ", '"': "''" };
  const latexText = (text) => [...text].map((c) => LATEX[c] ?? c).join("");
  const latex = (sheet) => {
    const cellText = (cell) => latexText(cell.text) + (cell.low ? ` {\\scriptsize [${latexText(cell.low)}, ${latexText(cell.high)}]}` : "");
    const align = sheet.columns.map((c) => (c.kind === "text" ? "l" : "r")).join("");
    const head = sheet.columns.map((c) => latexText(c.label)).join(" & ");
    const rows = sheet.rows.map((row) => `${row.map(cellText).join(" & ")} \\\\\n`).join("");
    const caption = latexText(`TrustAD, ${sheet.track}: ${sheet.view}. Brackets: 95 % intervals.`);
    return `% \\usepackage{booktabs,graphicx}\n\\begin{table*}\n\\centering\n\\caption{${caption}}\n\\resizebox{\\textwidth}{!}{%\n`
      + `\\begin{tabular}{${align}}\n\\toprule\n${head} \\\\\n\\midrule\n${rows}\\bottomrule\n\\end{tabular}}\n\\end{table*}\n`;
  };

  const markdownText = (text) => text.replace(/\s+/g, " ").replace(/([\\`*_{}[\]<>()#+!|~&-])/g, "\\$1");
  const markdown = (sheet) => {
    const cellText = (cell, i) => (sheet.columns[i].kind === "text" ? markdownText(cell.text) : cell.text) + (cell.low ? ` [${cell.low}, ${cell.high}]` : "");
    const head = `| ${sheet.columns.map((c) => markdownText(c.label)).join(" | ")} |\n`;
    const rule = `|${sheet.columns.map((c) => (c.kind === "text" ? " --- " : " ---: ")).join("|")}|\n`;
    const rows = sheet.rows.map((row) => `| ${row.map(cellText).join(" | ")} |\n`).join("");
    return `TrustAD, ${markdownText(sheet.track)}: ${markdownText(sheet.view)}\n\n${head}${rule}${rows}`;
  };

  const save = (name, text, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  return { csv, json, latex, markdown, save };
})();
