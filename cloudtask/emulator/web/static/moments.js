// Times that pass while the page is open, by the emulator's clock.

import { setAttribute, setText } from "./dom.js";
import { moment, relative } from "./format.js";

// How far the emulator's clock is ahead of the browser's, in milliseconds.
let ahead = 0;

export const now = () => Date.now() + ahead;

export function setClock(iso) {
  ahead = Date.parse(iso) - Date.now();
}

/** Makes a <time> say how far an instant is away, and go on saying so. */
export function setMoment(node, iso) {
  setAttribute(node, "datetime", iso);
  setAttribute(node, "title", moment(iso));
  node.dataset.relative = "";
  tick(node);
}

/** Brings every such <time> of the page up to date. */
export function tickAll() {
  document.querySelectorAll("time[data-relative]").forEach(tick);
}

function tick(node) {
  setText(node, relative(Date.parse(node.dateTime) - now()));
}
