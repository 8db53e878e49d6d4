// The selected task: what it carries, what was sent, what comes next.

import { get, inPath, post, remove } from "./api.js";
import { answerOf, isUnderWay, outcomeBadge, resultOf, targetOf } from "./attempts.js";
import { byId, element, setText, showFacts, showList } from "./dom.js";
import { duration, lastPart, moment, seconds, size, timeOfDay } from "./format.js";
import { showHeaders } from "./headers.js";
import { setMoment } from "./moments.js";
import { confirmed, perform } from "./outcome.js";
import { linkTo } from "./route.js";

const FORMATS = {
  empty: "body",
  cloudtask: "JSON",
  json: "JSON",
  text: "text",
  binary: "binary data",
};

let refresh;
// The last that was seen of the selected task; it may be gone since.
let task = null;
// What is shown of its body.
let payload = null;
// The selected task's name and last attempt, once it is known to be gone.
let gone = null;

export function start(refreshPage) {
  refresh = refreshPage;
  byId("run-task").onclick = ({ currentTarget }) => perform(currentTarget, run);
  byId("delete-task").onclick = ({ currentTarget }) => perform(currentTarget, deleteTask);
}

/** Returns a task, null if it is gone, and its attempts. */
export async function load(name) {
  if (name !== gone?.name) {
    gone = null;
  }
  const found = gone === null ? await find(name) : null;
  if (found) {
    return { found, attempts: found.attempts };
  }
  const { attempts } = await get("/emulator/attempts", { task: name });
  const last = attempts.at(-1)?.serial;
  if (gone !== null && gone.last !== last) {
    gone = null; // Another task has its name by now.
    return load(name);
  }
  gone = { name, last };
  return { found, attempts };
}

/** Shows a task; `content` is what load() returned. */
export function show(name, content, queue) {
  byId("task").hidden = name === null;
  if (name === null) {
    task = null;
    return;
  }
  if (content.found) {
    task = content.found;
  } else if (task?.name !== name) {
    task = null;
  }
  const isGone = content.found === null;
  setText(byId("task-heading"), `Task ${lastPart(name)}`);
  byId("close-task").href = linkTo(name.split("/tasks/")[0]);
  byId("task-actions").hidden = isGone;
  byId("task-gone").hidden = !isGone;
  setText(byId("task-gone"), isGone ? farewell(content.attempts) : "");
  showTask(isGone ? content.attempts.at(-1) : null);
  showAttempts(content.attempts);
  showRetries(isGone ? null : task.retries, queue);
}

// The body is asked for once: it never changes and may be large.
async function find(name) {
  const path = `/emulator/tasks/${inPath(name)}`;
  try {
    const found = await get(path, { response_view: "BASIC" });
    if (found.name === task?.name && found.createTime === task.createTime) {
      return { ...found, decoded: task.decoded };
    }
    return await get(path);
  } catch (error) {
    if (error.isMissing) {
      return null;
    }
    throw error;
  }
}

async function run() {
  await post(`/v2/${inPath(task.name)}:run`);
  await refresh();
  return `Task ${lastPart(task.name)} is dispatched.`;
}

async function deleteTask() {
  const { name } = task;
  const isSure = await confirmed({
    heading: "Delete this task?",
    text: `Task ${lastPart(name)} is not sent again. This cannot be undone.`,
    yes: "Delete task",
  });
  if (!isSure) {
    return "";
  }
  await remove(`/v2/${inPath(name)}`);
  location.hash = byId("close-task").hash;
  await refresh();
  byId("tasks-heading").focus();
  return `Task ${lastPart(name)} is deleted.`;
}

function farewell(attempts) {
  const last = attempts.at(-1);
  if (last?.outcome === "done") {
    return `This task is done: attempt ${last.number} was answered with HTTP ${last.status}.`;
  }
  if (last?.outcome === "gave up") {
    return `This task was given up after attempt ${last.number}.`;
  }
  return "This task is not in its queue: it was deleted, or there never was one.";
}

// `last` is the last attempt of a task that is gone.
function showTask(last) {
  for (const id of ["task-facts", "payload", "headers-section"]) {
    byId(id).hidden = task === null;
  }
  if (task) {
    const request = task.httpRequest ?? task.appEngineHttpRequest;
    showTaskFacts(request, last ? historyOf(last) : stateOf(task));
    showPayload(task.decoded);
    showHeaders(byId("headers"), request.headers ?? {});
  }
}

const stateOf = ({ scheduleTime, dispatchCount, ...seen }) => [
  ["Due", momentOf("due", scheduleTime)],
  ["Attempts", String(dispatchCount ?? 0)],
  ["Last answer", isUnderWay(seen) ? "under way" : answerOf(seen)],
];

const historyOf = (last) => [
  ["Attempts", String(last.number)],
  ["Last answer", resultOf(last)],
];

function showTaskFacts({ oidcToken, oauthToken }, state) {
  showFacts(byId("task-facts"), [
    ["Target", targetOf(task)],
    ...state,
    ["Created", moment(task.createTime)],
    ["Deadline", `${duration(1000 * seconds(task.dispatchDeadline))} for each attempt`],
    ["OIDC token", oidcToken && tokenText(oidcToken.serviceAccountEmail, oidcToken.audience)],
    ["OAuth token", oauthToken && tokenText(oauthToken.serviceAccountEmail, oauthToken.scope)],
  ]);
}

const tokenText = (email, purpose) => (purpose ? `${email} for ${purpose}` : email);

// One <time> for each purpose, so that it stays the same element.
const times = new Map();

function momentOf(purpose, iso) {
  if (!times.has(purpose)) {
    const node = element("time");
    times.set(purpose, { node, whole: element("span", {}, node, " ", element("small")) });
  }
  const { node, whole } = times.get(purpose);
  setMoment(node, iso);
  setText(whole.lastElementChild, moment(iso));
  return whole;
}

// The body of a call is there for those who open it: it says the same again.
function showPayload(decoded) {
  if (decoded === payload) {
    return;
  }
  payload = decoded;
  const { format, size: bytes, text, truncated, call } = decoded;
  byId("call").hidden = byId("arguments").hidden = !call;
  if (call) {
    setText(byId("call"), call.task);
    showArguments(call);
  }
  const part = truncated ? ", the beginning of it" : "";
  setText(byId("body-summary"), `${size(bytes)} of ${FORMATS[format]}${part}`);
  setText(byId("body-text"), text || "This task has no body.");
  byId("body").open = !call;
}

function showArguments({ args, kwargs, id, kind, enqueued_at: enqueuedAt }) {
  showFacts(byId("arguments"), [
    ...args.map((value, index) => [`argument ${index + 1}`, value]),
    ...Object.entries(kwargs),
    ["enqueued", enqueuedAt && moment(enqueuedAt)],
    ["kind", kind],
    ["id", id],
  ]);
}

function showAttempts(attempts) {
  byId("no-task-attempts").hidden = attempts.length > 0;
  showList(byId("task-attempts"), attempts.toReversed(), {
    key: (attempt) => String(attempt.serial),
    create: createAttempt,
    update: () => {},
  });
}

// Attempts are recorded when they are over, so none changes.
function createAttempt(attempt) {
  const took = Date.parse(attempt.response_time) - Date.parse(attempt.dispatch_time);
  const headers = element("dl", { class: "headers" });
  showHeaders(headers, attempt.headers);
  return element(
    "li",
    {},
    element(
      "p",
      {},
      element("strong", {}, `Attempt ${attempt.number}`),
      " ",
      outcomeBadge(attempt.outcome),
      element("span", { class: "result" }, resultOf(attempt)),
      element("small", {}, attemptText(attempt, took)),
    ),
    element("details", {}, element("summary", {}, "Headers that were sent"), headers),
  );
}

function attemptText({ dispatch_time: sent, retry_time: retry, fault }, took) {
  const parts = [`at ${timeOfDay(sent)}`, `took ${duration(took)}`];
  if (fault) {
    parts.push(`with the fault ${fault}`);
  }
  if (retry) {
    parts.push(`next at ${timeOfDay(retry)}`);
  }
  return parts.join(", ");
}

function showRetries(retries, queue) {
  byId("retries-section").hidden = retries === null;
  if (retries === null) {
    return;
  }
  const first = (task.dispatchCount ?? 0) + 1;
  const upcoming = retries.attempts.map((time, index) => ({ number: first + index, time }));
  showList(byId("retries"), upcoming, {
    key: ({ number }) => String(number),
    create: ({ number }) =>
      element("li", {}, element("span", {}, `Attempt ${number}`), element("time"), element("small")),
    update: (row, { time }) => {
      const [, relative, absolute] = row.children;
      setMoment(relative, time);
      setText(absolute, timeOfDay(time));
    },
  });
  setText(byId("retries-end"), endText(retries, queue));
}

function endText({ attempts, end }, queue) {
  const pause = queue?.state === "RUNNING" ? "" : "The queue is paused; this is as if it ran. ";
  if (end === null) {
    return `${pause}And so on: no end is in sight.`;
  }
  const more = attempts.length === 20 ? "And so on. " : "";
  const reason =
    end.reason === "age" ? "Dropped when it is 31 days old," : "Given up";
  return `${pause}${more}${reason} after attempt ${end.attempt}, ${moment(end.time)}.`;
}
