// Staying up to date: by events, or by asking while there are none.

import { byId, setText } from "./dom.js";

const POLL = 2000;

const WORDS = {
  live: "Live",
  polling: "Updated every 2 s",
  lost: "No answer, trying again",
};

let source = null;
let polling = null;

/** Calls `changed` now and whenever something may have changed. */
export function start(changed) {
  const follow = () => {
    source?.close();
    source = null;
    clearInterval(polling);
    polling = null;
    // A page that nobody sees needs no connection: browsers allow six.
    if (!document.hidden) {
      connect(changed);
      changed();
    }
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

/** Tells whether the emulator answers. */
export function report(isAnswering) {
  const state = isAnswering ? (polling === null ? "live" : "polling") : "lost";
  byId("connection").dataset.state = state;
  setText(byId("connection"), WORDS[state]);
}

function connect(changed) {
  source = new EventSource("/emulator/events");
  source.addEventListener("changed", changed);
  source.onopen = () => {
    clearInterval(polling);
    polling = null;
    changed();
  };
  source.onerror = () => {
    polling ??= setInterval(changed, POLL);
    if (source.readyState === EventSource.CLOSED) {
      // The browser does not try again by itself.
      connectLater(changed);
    }
  };
}

function connectLater(changed) {
  const closed = source;
  setTimeout(() => {
    if (source === closed) {
      connect(changed);
    }
  }, POLL);
}
