// What tasks and attempts say of themselves.

import { element } from "./dom.js";

const STATUS = /HTTP status code (\d+)/;

/** "POST http://127.0.0.1:8000/" */
export function targetOf({ httpRequest, appEngineHttpRequest }) {
  if (httpRequest) {
    return `${httpRequest.httpMethod} ${httpRequest.url}`;
  }
  return `${appEngineHttpRequest.httpMethod} ${appEngineHttpRequest.relativeUri} (App Engine)`;
}

/** Whether an attempt of a task has no outcome yet. */
export const isUnderWay = ({ lastAttempt }) =>
  Boolean(lastAttempt && !lastAttempt.responseStatus);

/** What the last attempt of a task brought, null before there was one. */
export function answerOf({ lastAttempt }) {
  const [, status] = STATUS.exec(lastAttempt?.responseStatus?.message ?? "") ?? [];
  if (status === undefined) {
    return null;
  }
  return status === "0" || !lastAttempt.responseTime ? "no answer" : `HTTP ${status}`;
}

/** What a recorded attempt brought. */
export const resultOf = ({ status, error }) =>
  status === null ? error ?? "no answer" : `HTTP ${status}`;

export const outcomeBadge = (outcome) =>
  element("span", { class: "badge", "data-state": outcome }, outcome);
