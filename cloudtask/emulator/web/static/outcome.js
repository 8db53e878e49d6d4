// Doing what a button says, and saying what came of it.

import { byId, setText } from "./dom.js";

const SHOWN_FOR = 8000;

let hiding;

/** Says that something worked. It goes by itself. */
export function say(text) {
  show(text, "good");
  setText(byId("said"), text);
  hiding = setTimeout(hide, SHOWN_FOR);
}

/** Says that something went wrong, until it is dismissed. */
export function complain(text) {
  show(text, "bad");
  setText(byId("alarm"), text);
}

/**
 * Runs what a button stands for. It cannot be pressed again meanwhile, but
 * keeps the focus.
 *
 * `action` returns what to say, or nothing.
 */
export async function perform(button, action) {
  if (button.getAttribute("aria-disabled") === "true") {
    return;
  }
  button.setAttribute("aria-disabled", "true");
  try {
    const text = await action();
    if (text) {
      say(text);
    }
  } catch (error) {
    complain(error.message);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** Asks whether to go on; Escape and Cancel mean no. */
export function confirmed({ heading, text, yes }) {
  const dialog = byId("confirm");
  setText(byId("confirm-heading"), heading);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}

export function start() {
  byId("dismiss").onclick = hide;
  byId("confirm-no").onclick = () => byId("confirm").close("no");
  byId("confirm-yes").onclick = () => byId("confirm").close("yes");
}

function show(text, kind) {
  clearTimeout(hiding);
  // The same text again is to be said again.
  setText(byId("said"), "");
  setText(byId("alarm"), "");
  setText(byId("outcome-text"), text);
  byId("outcome").dataset.kind = kind;
  byId("outcome").hidden = false;
}

function hide() {
  byId("outcome").hidden = true;
}
