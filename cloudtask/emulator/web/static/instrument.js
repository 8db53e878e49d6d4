// Clock, drain and reset.

import { get, post } from "./api.js";
import { byId, setText } from "./dom.js";
import { count, duration, moment } from "./format.js";
import { now, setClock } from "./moments.js";
import { confirmed, perform } from "./outcome.js";

// What is due by then has this long to be sent and answered.
const TIMEOUT_SECONDS = 60;

const OUTCOMES = { done: "done", retry: "to be retried", "gave up": "given up" };

let refresh;

export function start(refreshPage) {
  refresh = refreshPage;
  for (const button of byId("clock-steps").children) {
    button.onclick = () => perform(button, () => advance(1, button.dataset.unit));
  }
  byId("clock-form").onsubmit = submit;
  byId("drain").onclick = ({ currentTarget }) => perform(currentTarget, drain);
  byId("reset").onclick = ({ currentTarget }) => perform(currentTarget, reset);
}

export const load = () => get("/emulator/clock");

export function show(clock) {
  setClock(clock.now);
  const ahead = Math.round(clock.ahead_seconds) * 1000;
  setText(byId("clock-offset"), ahead ? `${duration(ahead)} ahead` : "real time");
  tick();
}

export function tick() {
  const iso = new Date(now()).toISOString();
  byId("clock").dateTime = iso;
  setText(byId("clock"), moment(iso));
}

function submit(event) {
  event.preventDefault();
  const { amount, unit } = event.target.elements;
  perform(event.submitter, () => advance(Number(amount.value), unit.value));
}

async function advance(amount, unit) {
  const answer = await post("/emulator/clock/advance", {
    [unit]: amount,
    timeout: TIMEOUT_SECONDS,
  });
  await refresh();
  const step = count(amount, unit.slice(0, -1), unit);
  return `The clock moved on by ${step}. ${summary(answer.attempts)}`;
}

async function drain() {
  const { attempts } = await post("/emulator/drain", { timeout: TIMEOUT_SECONDS });
  await refresh();
  return `Nothing is due any more. ${summary(attempts)}`;
}

async function reset() {
  const isSure = await confirmed({
    heading: "Reset the emulator?",
    text: "All tasks, recorded attempts and faults are forgotten, and the clock shows the real time again. Of the queues, only those declared at the start are kept.",
    yes: "Reset everything",
  });
  if (!isSure) {
    return "";
  }
  await post("/emulator/reset");
  await refresh();
  return "Everything is as it was at the start.";
}

function summary(attempts) {
  if (attempts.length === 0) {
    return "Nothing was sent.";
  }
  const parts = Object.entries(OUTCOMES)
    .map(([outcome, word]) => [attempts.filter((each) => each.outcome === outcome).length, word])
    .filter(([number]) => number > 0)
    .map(([number, word]) => `${number} ${word}`);
  return `${count(attempts.length, "attempt")}: ${parts.join(", ")}.`;
}
