"use strict";
// A run's output is followed as long as its reader is at its end; whoever has scrolled up stays there.

(() => {
  const panel = document.getElementById("output");
  if (!panel || !("follows" in panel.dataset)) return;
  const NEAR = 24;
  let isAtEnd = true;
  const toEnd = () => { panel.scrollTop = panel.scrollHeight; };
  panel.addEventListener("scroll", () => {
    isAtEnd = panel.scrollHeight - panel.scrollTop - panel.clientHeight < NEAR;
  }, { passive: true });
  new MutationObserver(() => { if (isAtEnd) toEnd(); }).observe(panel, { childList: true, subtree: true });
  toEnd();
})();
