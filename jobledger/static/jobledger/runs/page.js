"use strict";
// A run's output is followed as long as its reader is at its end; whoever has scrolled up stays there.

(() => {
  const panel = document.getElementById("output");
  if (!panel || !("follows" in panel.dataset)) return;
  const NEAR = 24;
  // As it was when the reader last saw it: an event of scrolling would come too late for what comes meanwhile.
  let height = panel.scrollHeight;
  const toEnd = () => { panel.scrollTop = panel.scrollHeight; };
  const follow = () => {
    if (height - panel.scrollTop - panel.clientHeight < NEAR) toEnd();
    height = panel.scrollHeight;
  };
  new MutationObserver(follow).observe(panel, { childList: true, subtree: true });
  new ResizeObserver(follow).observe(panel);
  toEnd();
})();
