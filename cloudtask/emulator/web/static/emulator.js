// The page of the emulator: loads what is selected, and shows it.

import { byId, element } from "./dom.js";
import * as faults from "./faults.js";
import * as instrument from "./instrument.js";
import * as jobs from "./jobs.js";
import * as live from "./live.js";
import { tickAll } from "./moments.js";
import { complain, start as startOutcome } from "./outcome.js";
import * as queue from "./queue.js";
import * as queues from "./queues.js";
import { route } from "./route.js";
import * as task from "./task.js";

let current = null;
let next = null;

/** Brings the page up to date; calls meanwhile share one more round. */
function refresh() {
  if (current === null) {
    current = update().finally(() => {
      current = null;
    });
    return current;
  }
  next ??= current.then(() => {
    next = null;
    return refresh();
  });
  return next;
}

async function update() {
  try {
    const hash = location.hash;
    const [allQueues, allJobs, clock, allFaults] = await Promise.all([
      queues.load(),
      jobs.load(),
      instrument.load(),
      faults.load(),
    ]);
    const selected = selection(allQueues);
    const found = allQueues.find(({ path }) => path === selected.queue);
    const [queueContent, taskContent] = await Promise.all([
      found && queue.load(selected.queue),
      selected.task && task.load(selected.task),
    ]);
    if (location.hash !== hash) {
      return; // The next round is on its way.
    }
    instrument.show(clock);
    faults.show(allFaults);
    queues.show(allQueues, selected.queue);
    jobs.show(allJobs);
    queue.show(selected.queue, found, queueContent, selected.task);
    task.show(selected.task, taskContent, found);
    live.report(true);
  } catch (error) {
    live.report(error.status !== 0);
    // What vanished while it was loaded is not shown in the next round.
    if (error.status !== 0 && !error.isMissing) {
      complain(error.message);
    }
  }
}

// Where there is but one queue, nobody has to choose it.
function selection(allQueues) {
  const selected = route();
  const only = allQueues.length === 1 ? allQueues[0].path : null;
  return { ...selected, queue: selected.queue ?? only };
}

// What a link leads to gets the focus, wherever on the page it is.
async function follow() {
  const before = document.activeElement;
  await refresh();
  const { queue: queuePath, task: taskName } = route();
  if (before?.matches("a[href^='#/']") || before === document.body) {
    const id = taskName ? "task-heading" : queuePath ? "queue-heading" : "queues-heading";
    byId(id).focus();
  }
}

function addCopyButtons() {
  for (const command of document.querySelectorAll(".command")) {
    const button = element("button", { type: "button", class: "small" }, "Copy");
    button.onclick = () => copy(command.firstElementChild, button);
    command.append(button);
  }
}

async function copy(node, button) {
  getSelection().selectAllChildren(node);
  try {
    await navigator.clipboard.writeText(node.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, 2000);
}

startOutcome();
for (const part of [queues, jobs, queue, task, instrument, faults]) {
  part.start(refresh);
}
addCopyButtons();
byId("skip").onclick = (event) => {
  event.preventDefault();
  byId("queues-heading").focus();
};
addEventListener("hashchange", follow);
setInterval(() => {
  instrument.tick();
  tickAll();
}, 1000);
live.start(refresh);
