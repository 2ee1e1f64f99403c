// Builds elements from attributes and text. Nothing here parses HTML.

/**
 * An element with attributes (true: an empty value; false, null and undefined: no attribute) and
 * children.
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(
    ...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The element with this id; throws if there is none. */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`no element #${id}`);
  return node;
}
