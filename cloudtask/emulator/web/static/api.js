// Calls of the emulator's HTTP port.

/** A call that was refused or not answered; the message is for people. */
class CallError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  get isMissing() {
    return this.status === 404;
  }
}

export const get = (path, parameters = {}) => {
  const query = new URLSearchParams(parameters).toString();
  return call("GET", query ? `${path}?${query}` : path);
};

export const post = (path, content = {}) => call("POST", path, content);

export const remove = (path) => call("DELETE", path);

/** Returns a resource name as it stands in a URL's path. */
export const inPath = (name) => name.split("/").map(encodeURIComponent).join("/");

async function call(method, path, content) {
  const request = { method, cache: "no-store", redirect: "error" };
  if (content !== undefined) {
    request.headers = { "Content-Type": "application/json" };
    request.body = JSON.stringify(content);
  }
  let response;
  let text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch {
    throw new CallError("The emulator does not answer. Is it still running?", 0);
  }
  const answer = parsed(text);
  if (!response.ok) {
    const reason = answer?.error?.message ?? `It answered with HTTP ${response.status}.`;
    throw new CallError(reason, response.status);
  }
  return answer;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
