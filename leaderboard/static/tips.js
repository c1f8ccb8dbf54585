// Chart read-outs: the tooltip of the point under the pointer. Without script the SVG's own titles do this.
"use strict";
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const show = (event) => {
    const point = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = point.dataset.tip;
    const box = point.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.right + 8, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, box.top - 30)}px`;
  };
  document.addEventListener("DOMContentLoaded", () => document.body.append(tip));
  document.addEventListener("pointerover", show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
