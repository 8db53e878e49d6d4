// Which queue and task are shown: `#/projects/P/locations/L/queues/Q/tasks/T`.

const PART = "[A-Za-z0-9_:-][A-Za-z0-9_.:-]*";
const ROUTE = new RegExp(
  `^#/(projects/${PART}/locations/${PART}/queues/${PART})(/tasks/${PART})?$`,
);

/** The paths of what is selected, null where nothing is. */
export function route() {
  const [, queue = null, task] = ROUTE.exec(location.hash) ?? [];
  return { queue, task: task ? queue + task : null };
}

export const linkTo = (name) => `#/${name}`;
