"use strict";
// Shows only the options of the selected subcommand. Without JavaScript, all options are shown.

const showSubcommands = (root) => {
  const chosen = new Map();
  for (const select of root.querySelectorAll("select[data-subcommands]")) {
    chosen.set(select.dataset.subcommands.split(".").slice(0, -1).join("."), select.value);
  }
  for (const section of root.querySelectorAll("[data-subcommand]")) {
    const names = section.dataset.subcommand.split(".");
    section.hidden = names.some((name, depth) => chosen.get(names.slice(0, depth).join(".")) !== name);
  }
};

const showAll = () => document.querySelectorAll(".options").forEach(showSubcommands);

document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-subcommands]")) showAll();
});
document.addEventListener("DOMContentLoaded", showAll);
document.addEventListener("htmx:load", showAll);
