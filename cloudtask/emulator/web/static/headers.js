// Lists of headers, in which credentials are not shown unless asked for.

import { element, setText, showList } from "./dom.js";

const CREDENTIAL = /authorization|secret|token|key|cookie/i;
const MASK = "••••••••";

export function showHeaders(list, headers) {
  const sorted = Object.entries(headers).sort(([a], [b]) => a.localeCompare(b));
  showList(list, sorted, { key: ([name]) => name, create: createHeader, update: updateHeader });
}

function createHeader([name]) {
  const value = element("span");
  const cell = element("dd", {}, value);
  const row = element("div", {}, element("dt", {}, name), cell);
  row.value = value;
  if (CREDENTIAL.test(name)) {
    const button = element("button", { type: "button", class: "small" });
    row.button = button;
    row.isMasked = true;
    button.onclick = () => {
      row.isMasked = !row.isMasked;
      showValue(row, name);
    };
    cell.append(" ", button);
  }
  return row;
}

function updateHeader(row, [name, value]) {
  row.text = value;
  showValue(row, name);
}

function showValue(row, name) {
  setText(row.value, row.isMasked ? MASK : row.text);
  if (row.button) {
    const word = row.isMasked ? "Show" : "Hide";
    setText(row.button, word);
    row.button.setAttribute("aria-label", `${word} the value of ${name}`);
  }
}
