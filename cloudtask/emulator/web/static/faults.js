// What is to go wrong on purpose.

import { get, post, remove } from "./api.js";
import { byId, element, setText, showList } from "./dom.js";
import { count, duration } from "./format.js";
import { perform } from "./outcome.js";

const KINDS = {
  duplicate: "Sent twice at the same time",
  delay: "Sent later",
  reorder: "Sent after another task",
  timeout: "Sent, then past its deadline",
  drop_answer: "Sent, the answer is lost",
  unreachable: "Not sent, no answer",
  unavailable: "API: UNAVAILABLE, not done",
  deadline_exceeded: "API: DEADLINE_EXCEEDED, not done",
  executed_then_unavailable: "API: done, then UNAVAILABLE",
  executed_then_deadline_exceeded: "API: done, then DEADLINE_EXCEEDED",
};

let refresh;

export function start(refreshPage) {
  refresh = refreshPage;
  const form = byId("fault-form");
  form.elements.kind.append(
    ...Object.entries(KINDS).map(([kind, text]) => element("option", { value: kind }, text)),
  );
  form.elements.kind.onchange = () => showFields(form);
  form.onsubmit = submit;
  showFields(form);
  byId("clear-faults").onclick = ({ currentTarget }) => perform(currentTarget, clear);
}

export async function load() {
  return (await get("/emulator/faults")).faults;
}

export function show(faults) {
  byId("no-faults").hidden = faults.length > 0;
  byId("clear-faults").hidden = faults.length === 0;
  showList(byId("faults"), faults, {
    key: (fault) => String(fault.id),
    create: createFault,
    update: (row, fault) => setText(row.firstElementChild.lastElementChild, scopeOf(fault)),
  });
}

function createFault(fault) {
  const text = element("p", {}, element("strong", {}, KINDS[fault.kind]), " ", element("small"));
  const button = element(
    "button",
    { type: "button", class: "small", "aria-label": `Remove fault: ${KINDS[fault.kind]}` },
    "Remove",
  );
  button.onclick = () =>
    perform(button, async () => {
      await remove(`/emulator/faults/${fault.id}`);
      await refresh();
      return "The fault is removed.";
    });
  return element("li", {}, text, button);
}

function scopeOf({ queue, task, method, times, skip, probability, delay }) {
  const parts = [
    times === null ? "until removed" : count(times, "time"),
    delay === null ? null : `by ${duration(delay * 1000)}`,
    skip ? `after ${skip} that go well` : null,
    probability < 1 ? `${probability * 100} % of the time` : null,
    method && `in ${method}`,
    queue && `queue ${queue}`,
    task && `tasks ${task}`,
  ];
  return parts.filter(Boolean).join(", ");
}

// A delay belongs to one kind, a method to those of the API.
function showFields({ elements }) {
  const kind = elements.kind.value;
  const isApi = KINDS[kind].startsWith("API");
  elements.delay.closest("label").hidden = elements.delay.disabled = kind !== "delay";
  elements.method.closest("label").hidden = elements.method.disabled = !isApi;
}

function submit(event) {
  event.preventDefault();
  const form = event.target;
  perform(event.submitter, async () => {
    await post("/emulator/faults", faultOf(form));
    await refresh();
    return "The fault is added.";
  });
}

function faultOf(form) {
  const given = Object.fromEntries(
    [...new FormData(form)].filter(([, value]) => value !== ""),
  );
  for (const name of ["times", "delay"]) {
    if (name in given) {
      given[name] = Number(given[name]);
    }
  }
  return { times: null, ...given };
}

async function clear() {
  await remove("/emulator/faults");
  await refresh();
  byId("faults-heading").focus();
  return "All faults are removed.";
}
