// The table of all queues, and the form that creates one.

import { get, inPath, post } from "./api.js";
import { byId, element, setAttribute, setText, showList } from "./dom.js";
import { count, lastPart, locationOf, rate } from "./format.js";
import { setMoment } from "./moments.js";
import { confirmed, perform } from "./outcome.js";
import { linkTo } from "./route.js";

const RATE_LIMITS = ["maxDispatchesPerSecond", "maxConcurrentDispatches"];

let refresh;

export function start(refreshPage) {
  refresh = refreshPage;
  byId("create-queue").onclick = toggleForm;
  byId("cancel-queue").onclick = toggleForm;
  byId("queue-form").onsubmit = submit;
  byId("queues").tBodies[0].onclick = followRow;
}

export async function load() {
  return (await get("/emulator/queues")).queues;
}

export function show(queues, selected) {
  byId("no-queues").hidden = queues.length > 0;
  byId("queues").hidden = queues.length === 0;
  byId("choose-queue").hidden = queues.length === 0 || selected !== null;
  const places = new Set(queues.map(({ path }) => locationOf(path)));
  showList(byId("queues").tBodies[0], queues, {
    key: (queue) => queue.path,
    create: createRow,
    update: (row, queue) => {
      updateRow(row, queue, queue.path === selected);
      row.parts.location.hidden = places.size === 1;
    },
  });
  suggestLocation(queues, selected);
}

/** Pauses or resumes a queue. */
export async function toggle(queue) {
  const verb = isRunning(queue) ? "pause" : "resume";
  await post(`/v2/${inPath(queue.path)}:${verb}`);
  await refresh();
  return `Queue ${queue.name} ${verb === "pause" ? "is paused" : "runs again"}.`;
}

/** Deletes all tasks of a queue, if that is confirmed. */
export async function purge(queue) {
  const isSure = await confirmed({
    heading: `Purge ${queue.name}?`,
    text: `All tasks of this queue are deleted (${count(queue.depth, "task")} now). This cannot be undone.`,
    yes: "Purge queue",
  });
  if (!isSure) {
    return "";
  }
  await post(`/v2/${inPath(queue.path)}:purge`);
  await refresh();
  return `Queue ${queue.name} is purged.`;
}

const isRunning = (queue) => queue.state === "RUNNING";

/** What the button that pauses or resumes is called. */
export const toggleWord = (queue) => (isRunning(queue) ? "Pause" : "Resume");

function createRow({ path, name }) {
  const parts = {
    link: element("a", { href: linkTo(path) }, name),
    location: element("small", {}, locationOf(path)),
    state: element("span", { class: "badge" }),
    depth: element("span"),
    inFlight: element("span"),
    rate: element("span"),
    slowed: element("small", { class: "slowed" }),
    oldest: element("time"),
    lastMinute: element("span"),
    toggle: element("button", { type: "button" }),
  };
  const row = element(
    "tr",
    { role: "row" },
    element("th", { role: "rowheader", scope: "row" }, parts.link, parts.location),
    cell("State", parts.state),
    cell("Tasks", parts.depth),
    cell("In flight", parts.inFlight),
    cell("Rate", parts.rate, parts.slowed),
    cell("Oldest task", parts.oldest),
    cell("Last minute", parts.lastMinute),
    element("td", { role: "cell", class: "actions" }, parts.toggle),
  );
  row.parts = parts;
  parts.toggle.onclick = () => perform(parts.toggle, () => toggle(row.queue));
  return row;
}

function updateRow(row, queue, isSelected) {
  const { parts } = row;
  const { max_dispatches_per_second: limit, effective } = queue.rate;
  const isSlowed = rate(effective) !== rate(limit);
  row.queue = queue;
  setAttribute(row, "class", isSelected ? "selected" : null);
  setAttribute(parts.link, "aria-current", isSelected ? "true" : null);
  parts.state.dataset.state = queue.state;
  setText(parts.state, queue.state[0] + queue.state.slice(1).toLowerCase());
  setText(parts.depth, queue.depth.toLocaleString("en"));
  setText(parts.inFlight, queue.in_flight.toLocaleString("en"));
  setText(parts.rate, rate(effective));
  setText(parts.slowed, isSlowed ? `slowed from ${rate(limit)}` : "");
  showOldest(parts.oldest, queue.oldest);
  setText(parts.lastMinute, queue.dispatched_last_minute.toLocaleString("en"));
  setText(parts.toggle, toggleWord(queue));
  setAttribute(parts.toggle, "aria-label", `${toggleWord(queue)} ${queue.name}`);
}

function showOldest(node, oldest) {
  if (oldest) {
    setMoment(node, oldest);
  } else {
    delete node.dataset.relative;
    setText(node, "–");
  }
}

function cell(label, ...children) {
  return element("td", { role: "cell", "data-label": label, class: "number" }, ...children);
}

// The whole row leads to the queue, for those who use a mouse.
function followRow(event) {
  const row = event.target.closest("tr");
  if (!event.target.closest("a, button") && getSelection().isCollapsed) {
    location.hash = linkTo(row.queue.path);
  }
}

function toggleForm() {
  const form = byId("queue-form");
  form.hidden = !form.hidden;
  byId("create-queue").setAttribute("aria-expanded", !form.hidden);
  (form.hidden ? byId("create-queue") : form.elements.id).focus();
}

// New queues go where the others are.
function suggestLocation(queues, selected) {
  const path = selected ?? queues[0]?.path ?? "projects/demo/locations/local";
  const [, project, , place] = path.split("/");
  const { elements } = byId("queue-form");
  elements.project.defaultValue = project;
  elements.location.defaultValue = place;
}

function submit(event) {
  event.preventDefault();
  const form = event.target;
  perform(event.submitter, async () => {
    const parent = `projects/${form.elements.project.value}/locations/${form.elements.location.value}`;
    const name = `${parent}/queues/${form.elements.id.value}`;
    await post(`/v2/${inPath(parent)}/queues`, { name, ...settings(form) });
    form.reset();
    toggleForm();
    location.hash = linkTo(name);
    await refresh();
    return `Queue ${lastPart(name)} is created.`;
  });
}

function settings(form) {
  const filled = [...form.elements].filter((field) => field.type === "number" && field.value);
  const rateLimits = {};
  const retryConfig = {};
  for (const { name, value } of filled) {
    if (RATE_LIMITS.includes(name)) {
      rateLimits[name] = Number(value);
    } else {
      retryConfig[name] = name.endsWith("Backoff") ? `${value}s` : Number(value);
    }
  }
  return { rateLimits, retryConfig };
}
