// Numbers and times as people read them.

const STEPS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** "850 ms", "2.5 s", "45 s", "3 h 5 min", "20 h": two figures or so. */
export function duration(milliseconds) {
  const index = STEPS.findIndex(([, size]) => milliseconds >= size);
  if (index < 0) {
    return `${Math.round(milliseconds)} ms`;
  }
  const [unit, size] = STEPS[index];
  const amount = milliseconds / size;
  if (amount >= 10) {
    return `${Math.floor(amount)} ${unit}`;
  }
  if (unit === "s") {
    return `${Math.floor(amount * 10) / 10} s`;
  }
  const [smaller, smallerSize] = STEPS[index + 1];
  const rest = Math.floor((milliseconds % size) / smallerSize);
  return `${Math.floor(amount)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}

/** "in 5 s", "now", "5 s ago", to the second. */
export function relative(milliseconds) {
  const seconds = Math.round(milliseconds / 1000) * 1000;
  if (seconds === 0) {
    return "now";
  }
  return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
}

/** "2026-06-01 12:00:00 UTC" */
export function moment(iso) {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

/** "12:00:00.250", for lists whose day is plain. */
export function timeOfDay(iso) {
  return new Date(iso).toISOString().slice(11, 23);
}

export function count(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}

export function size(bytes) {
  return bytes < 1024 ? count(bytes, "byte") : `${(bytes / 1024).toFixed(1)} KiB`;
}

export function rate(perSecond) {
  return `${Number(perSecond.toPrecision(3)).toLocaleString("en")}/s`;
}

/** Seconds of a protobuf Duration in JSON, such as "3.5s". */
export const seconds = (text) => Number.parseFloat(text);

export const lastPart = (name) => name.slice(name.lastIndexOf("/") + 1);

/** "demo / local" of a queue's path. */
export function locationOf(path) {
  const [, project, , location] = path.split("/");
  return `${project} / ${location}`;
}
