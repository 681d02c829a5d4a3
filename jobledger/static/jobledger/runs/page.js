"use strict";
// Keeps the output scrolled to its end, unless the user has scrolled up.

(() => {
  const panel = document.getElementById("output");
  if (!panel || !("follows" in panel.dataset)) return;
  const NEAR = 24;
  // The height before the last change. Scroll events would fire too late if output arrives in between.
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
