// Changing the page no more than necessary, so that focus, selection and
// scroll position stay. Text is never HTML here.

export const byId = (id) => document.getElementById(id);

/** Returns a new element; children are elements or texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) {
    node.textContent = wanted;
  }
}

export function setAttribute(node, name, value) {
  if (value === null) {
    node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/**
 * Makes a container's children those of `items`, in their order.
 *
 * An element stays as long as there is an item of its key. `create(item)`
 * returns a new one, `update(element, item)` is called for each.
 */
export function showList(container, items, { key, create, update }) {
  const focused = document.activeElement;
  const wanted = new Set(items.map(key));
  const known = new Map();
  for (const child of [...container.children]) {
    if (wanted.has(child.dataset.key)) {
      known.set(child.dataset.key, child);
    } else {
      removeKeepingFocus(child, focused);
    }
  }
  let place = container.firstElementChild;
  for (const item of items) {
    const child = known.get(key(item)) ?? create(item);
    child.dataset.key = key(item);
    update(child, item);
    if (child === place) {
      place = place.nextElementSibling;
    } else {
      container.insertBefore(child, place);
    }
  }
  // An element that is moved loses the focus.
  if (container.contains(focused) && document.activeElement !== focused) {
    focused.focus({ preventScroll: true });
  }
}

/** Shows name and value pairs in a <dl>; a value is a text or an element. */
export function showFacts(list, facts) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined);
  showList(list, shown, {
    key: ([name]) => name,
    create: ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    update: (row, [, value]) => {
      if (typeof value === "string") {
        setText(row.lastElementChild, value);
      } else if (row.lastElementChild.firstChild !== value) {
        row.lastElementChild.replaceChildren(value);
      }
    },
  });
}

// The next element inherits the focus, or the heading of the list.
function removeKeepingFocus(child, focused) {
  if (child.contains(focused)) {
    const neighbour = child.nextElementSibling ?? child.previousElementSibling;
    const heir =
      neighbour?.querySelector("a, button") ??
      byId(child.closest("[data-heading]")?.dataset.heading);
    heir?.focus({ preventScroll: true });
  }
  child.remove();
}
