// The selected queue: its settings, tasks and newest attempts.

import { get, inPath, remove } from "./api.js";
import { answerOf, isUnderWay, outcomeBadge, resultOf, targetOf } from "./attempts.js";
import { byId, element, setAttribute, setText, showFacts, showList } from "./dom.js";
import { count, duration, lastPart, locationOf, rate, seconds, timeOfDay } from "./format.js";
import { setMoment } from "./moments.js";
import { confirmed, perform } from "./outcome.js";
import { purge, toggle, toggleWord } from "./queues.js";
import { linkTo } from "./route.js";

const PAGE = 50;
const ATTEMPTS = 50;

let refresh;
let queue = null;
let wanted = PAGE;

export function start(refreshPage) {
  refresh = refreshPage;
  const actions = { "toggle-queue": toggle, "purge-queue": purge, "delete-queue": deleteQueue };
  for (const [id, action] of Object.entries(actions)) {
    byId(id).onclick = () => perform(byId(id), () => action(queue));
  }
  const [more] = byId("more-tasks").getElementsByTagName("button");
  more.onclick = () =>
    perform(more, () => {
      wanted += PAGE;
      return refresh();
    });
}

/** Returns the tasks, as many as are wanted, and attempts of a queue. */
export async function load(path) {
  if (path !== queue?.path) {
    wanted = PAGE;
  }
  const [tasks, { attempts }] = await Promise.all([
    loadTasks(path),
    get("/emulator/attempts", { queue: path, limit: ATTEMPTS }),
  ]);
  return { ...tasks, attempts };
}

/**
 * Shows a queue.
 *
 * `found` is what the list of queues says of it, undefined if nothing;
 * `content` is what load() returned.
 */
export function show(path, found, content, selectedTask) {
  queue = found;
  byId("queue").hidden = path === null;
  if (path === null) {
    return;
  }
  setText(byId("queue-heading"), lastPart(path));
  byId("queue-missing").hidden = Boolean(found);
  byId("queue-content").hidden = !found;
  byId("queue-actions").hidden = !found;
  if (found) {
    showQueue();
    showTasks(content, selectedTask);
    showAttempts(content.attempts);
  }
}

async function loadTasks(path) {
  const tasks = [];
  let token = "";
  do {
    const page = await get("/emulator/tasks", {
      queue: path,
      page_size: wanted - tasks.length,
      page_token: token,
      response_view: "BASIC",
    });
    tasks.push(...page.tasks);
    token = page.next_page_token;
  } while (token && tasks.length < wanted);
  tasks.sort((a, b) => Date.parse(a.scheduleTime) - Date.parse(b.scheduleTime));
  return { tasks, hasMore: token !== "" };
}

async function deleteQueue({ path, name, depth }) {
  const isSure = await confirmed({
    heading: `Delete queue ${name}?`,
    text: `The queue and its tasks (${count(depth, "task")}) are deleted, and its name cannot be used again for some days. This cannot be undone.`,
    yes: "Delete queue",
  });
  if (!isSure) {
    return "";
  }
  await remove(`/v2/${inPath(path)}`);
  location.hash = "";
  await refresh();
  byId("queues-heading").focus();
  return `Queue ${name} is deleted.`;
}

function showQueue() {
  const { rate: limits, retry_config: retry } = queue;
  setText(byId("toggle-queue"), toggleWord(queue));
  showFacts(byId("queue-facts"), [
    ["Location", locationOf(queue.path)],
    [
      "Limits",
      `${rate(limits.max_dispatches_per_second)}, bursts of ${limits.max_burst_size}, ` +
        `${limits.max_concurrent_dispatches} at once`,
    ],
    ["Retries", retryText(retry)],
  ]);
  setText(byId("first-task"), firstTask(queue.path));
}

function retryText(retry) {
  const { maxAttempts, maxRetryDuration, minBackoff, maxBackoff, maxDoublings = 0 } = retry;
  const attempts = maxAttempts < 0 ? "no limit of attempts" : count(maxAttempts, "attempt");
  const parts = [
    attempts,
    `${inWords(minBackoff)} to ${inWords(maxBackoff)} apart`,
    `doubled ${count(maxDoublings, "time")}`,
  ];
  if (maxRetryDuration && seconds(maxRetryDuration) > 0) {
    parts.push(`for ${inWords(maxRetryDuration)}`);
  }
  return parts.join(", ");
}

const inWords = (protobufDuration) => duration(1000 * seconds(protobufDuration));

function firstTask(path) {
  return `curl -X POST ${location.origin}/v2/${path}/tasks \\
  -H 'Content-Type: application/json' \\
  -d '{"task": {"httpRequest": {"url": "http://127.0.0.1:8000/"}}}'`;
}

function showTasks({ tasks, hasMore }, selected) {
  byId("no-tasks").hidden = tasks.length > 0;
  byId("tasks").hidden = tasks.length === 0;
  byId("more-tasks").hidden = !hasMore;
  setText(
    byId("more-tasks").lastElementChild,
    `The first ${tasks.length} of ${count(queue.depth, "task")} are shown.`,
  );
  showList(byId("tasks").tBodies[0], tasks, {
    key: (task) => task.name,
    create: createTask,
    update: (row, task) => updateTask(row, task, task.name === selected),
  });
}

function createTask({ name }) {
  const parts = {
    link: element("a", { href: linkTo(name) }, lastPart(name)),
    summary: element("small", { class: "clip" }),
    target: element("span", { class: "clip" }),
    due: element("time"),
    attempts: element("span"),
    answer: element("span"),
  };
  const row = element(
    "tr",
    { role: "row" },
    element("th", { role: "rowheader", scope: "row" }, parts.link, parts.summary),
    element("td", { role: "cell", "data-label": "Target" }, parts.target),
    element("td", { role: "cell", "data-label": "Due", class: "number" }, parts.due),
    element("td", { role: "cell", "data-label": "Attempts", class: "number" }, parts.attempts),
    element("td", { role: "cell", "data-label": "Last answer" }, parts.answer),
  );
  row.parts = parts;
  return row;
}

function updateTask(row, task, isSelected) {
  const { parts } = row;
  setAttribute(row, "class", isSelected ? "selected" : null);
  setAttribute(parts.link, "aria-current", isSelected ? "true" : null);
  setText(parts.summary, task.decoded.summary);
  setText(parts.target, targetOf(task));
  setMoment(parts.due, task.scheduleTime);
  setText(parts.attempts, task.dispatchCount ?? 0);
  setText(parts.answer, isUnderWay(task) ? "under way" : answerOf(task) ?? "–");
}

function showAttempts(attempts) {
  byId("no-attempts").hidden = attempts.length > 0;
  byId("attempts").hidden = attempts.length === 0;
  showList(byId("attempts").tBodies[0], attempts.toReversed(), {
    key: (attempt) => String(attempt.serial),
    create: createAttempt,
    update: () => {},
  });
}

// Attempts are recorded when they are over, so a row never changes.
function createAttempt(attempt) {
  const took = Date.parse(attempt.response_time) - Date.parse(attempt.dispatch_time);
  const link = element("a", { href: linkTo(attempt.task) }, lastPart(attempt.task));
  return element(
    "tr",
    { role: "row" },
    element("td", { role: "cell", "data-label": "Time" }, timeOfDay(attempt.dispatch_time)),
    element("th", { role: "rowheader", scope: "row" }, link),
    element("td", { role: "cell", "data-label": "Attempt", class: "number" }, String(attempt.number)),
    element("td", { role: "cell", "data-label": "Answer" }, resultOf(attempt)),
    element("td", { role: "cell", "data-label": "Outcome" }, outcomeBadge(attempt.outcome)),
    element("td", { role: "cell", "data-label": "Took", class: "number" }, duration(took)),
  );
}
