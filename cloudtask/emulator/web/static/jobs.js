// The table of all jobs of Cloud Scheduler.

import { get, inPath, post } from "./api.js";
import { outcomeBadge, resultOf } from "./attempts.js";
import { byId, element, setText, showList } from "./dom.js";
import { lastPart, locationOf } from "./format.js";
import { setMoment } from "./moments.js";
import { perform } from "./outcome.js";

let refresh;

export function start(refreshPage) {
  refresh = refreshPage;
}

export async function load() {
  return (await get("/emulator/jobs")).jobs;
}

export function show(jobs) {
  byId("jobs-panel").hidden = jobs.length === 0;
  showList(byId("jobs").tBodies[0], jobs, {
    key: (job) => job.name,
    create: createRow,
    update: updateRow,
  });
}

async function toggle(job) {
  const verb = isEnabled(job) ? "pause" : "resume";
  await call(job, verb);
  return `Job ${lastPart(job.name)} ${verb === "pause" ? "is paused" : "runs again"}.`;
}

async function run(job) {
  await call(job, "run");
  return `Job ${lastPart(job.name)} is sent.`;
}

async function call(job, verb) {
  await post(`/v1/${inPath(job.name)}:${verb}`);
  await refresh();
}

const isEnabled = (job) => job.state === "ENABLED";

const toggleWord = (job) => (isEnabled(job) ? "Pause" : "Resume");

/** "POST http://127.0.0.1:8000/", or another kind of target. */
function targetOf({ httpTarget, appEngineHttpTarget, pubsubTarget }) {
  if (httpTarget) {
    return `${httpTarget.httpMethod} ${httpTarget.uri}`;
  }
  if (appEngineHttpTarget) {
    return `${appEngineHttpTarget.httpMethod} ${appEngineHttpTarget.relativeUri} (App Engine)`;
  }
  return `${pubsubTarget.topicName} (Pub/Sub)`;
}

function createRow({ name }) {
  const parts = {
    target: element("small"),
    state: element("span", { class: "badge" }),
    schedule: element("span"),
    zone: element("small"),
    next: element("ol", { class: "plain" }),
    attempts: element("ol", { class: "plain" }),
    run: element("button", { type: "button", "aria-label": `Run ${lastPart(name)} now` }, "Run now"),
    toggle: element("button", { type: "button" }),
  };
  const row = element(
    "tr",
    { role: "row" },
    element(
      "th",
      { role: "rowheader", scope: "row" },
      element("span", {}, lastPart(name)),
      element("small", {}, locationOf(name)),
      parts.target,
    ),
    cell("State", parts.state),
    cell("Schedule", parts.schedule, parts.zone),
    cell("Next runs", parts.next),
    cell("Last attempts", parts.attempts),
    element("td", { role: "cell", class: "actions" }, parts.run, parts.toggle),
  );
  row.parts = parts;
  parts.run.onclick = () => perform(parts.run, () => run(row.job));
  parts.toggle.onclick = () => perform(parts.toggle, () => toggle(row.job));
  return row;
}

function updateRow(row, job) {
  const { parts } = row;
  row.job = job;
  setText(parts.target, targetOf(job));
  parts.state.dataset.state = isEnabled(job) ? "RUNNING" : job.state;
  setText(parts.state, job.state[0] + job.state.slice(1).toLowerCase());
  setText(parts.schedule, job.schedule);
  setText(parts.zone, job.timeZone || "UTC");
  showTimes(parts.next, job.next_slots.slice(0, 3));
  showAttempts(parts.attempts, job.attempts);
  setText(parts.toggle, toggleWord(job));
  parts.toggle.setAttribute("aria-label", `${toggleWord(job)} ${lastPart(job.name)}`);
}

function showTimes(list, slots) {
  showList(list, slots, {
    key: (slot) => slot,
    create: () => element("li", {}, element("time")),
    update: (item, slot) => setMoment(item.firstElementChild, slot),
  });
}

// The newest comes first.
function showAttempts(list, attempts) {
  showList(list, [...attempts].reverse(), {
    key: ({ dispatch_time: time, number }) => `${time} ${number}`,
    create: (attempt) =>
      element("li", { title: attempt.error ?? "" }, outcomeBadge(attempt.outcome), element("span")),
    update: (item, attempt) =>
      setText(item.lastElementChild, ` ${resultOf(attempt)}${attempt.forced ? ", by hand" : ""}`),
  });
}

function cell(label, ...children) {
  return element("td", { role: "cell", "data-label": label }, ...children);
}
